use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| fc(x), forward = |x| fc(x))]
struct Net {
    #[layer(10, 10)]
    #[layer(20, 20)]
    fc: Linear,
}

fn main() {}
