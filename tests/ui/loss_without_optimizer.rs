use sconce::prelude::*;

#[derive(Module)]
#[module(loss = cross_entropy)]
struct Net {
    #[layer(10, 10)]
    fc: Linear,
}

fn main() {}
