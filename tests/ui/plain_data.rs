use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 20)]
    fc: Linear,
    heads: usize,
}

fn main() {}
