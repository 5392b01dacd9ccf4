use sconce::prelude::*;

#[derive(Module)]
#[module(args(width: usize = 8, depth: usize))]
struct Net {
    #[layer(width, width; for i in 0..depth)]
    fc: Vec<Linear>,
}

fn main() {}
