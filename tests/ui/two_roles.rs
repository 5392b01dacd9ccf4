use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    #[module(skip)]
    fc: Linear,
}

fn main() {}
