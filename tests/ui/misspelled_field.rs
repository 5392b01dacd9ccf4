use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| classifer(x))]
struct Net {
    #[layer(10, 10)]
    classifier: Linear,
}

fn main() {}
