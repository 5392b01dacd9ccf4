use sconce::prelude::*;

#[derive(Module)]
#[module(args(
    /// The width.
    width: usize,
    #[allow(unused)]
    depth: usize = 3,
))]
struct Net {
    #[layer(width, width)]
    fc: Linear,
}

fn main() {}
