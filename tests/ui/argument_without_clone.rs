use sconce::prelude::*;

struct Unique(usize);

#[derive(Module)]
#[module(args(width: Unique))]
struct Net {
    #[layer(width.0, 3)]
    first: Linear,
    #[layer(3, width.0)]
    second: Linear,
}

fn main() {}
