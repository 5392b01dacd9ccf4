use sconce::prelude::*;

#[derive(Module)]
#[module(args(width: usize, width: usize))]
struct Net {
    #[layer(width, width)]
    fc: Linear,
}

fn main() {}
