use sconce::prelude::*;

#[derive(Module)]
#[module(args(width))]
struct Net {
    #[layer(8, 8)]
    fc: Linear,
}

fn main() {}
