use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| fc(x, 1.0))]
struct Net {
    #[layer(10, 20)]
    fc: Linear,
}

fn main() {}
