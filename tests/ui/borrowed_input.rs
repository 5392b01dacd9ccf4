use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x: &Tensor| fc(x))]
struct Net {
    #[layer(10, 10)]
    fc: Linear,
}

fn main() {}
