use sconce::prelude::*;

struct Sizes;

#[derive(Module)]
#[module(args(width: usize), config = Sizes)]
struct Net {
    #[layer(8, 8)]
    fc: Linear,
}

fn main() {}
