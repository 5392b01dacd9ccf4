use sconce::prelude::*;

#[derive(Module)]
#[module(args(stage: usize, depth: usize))]
struct Net {
    #[layer(3, 3; for _ in 0..depth)]
    #[module(rename = "block{stage}-{0..}")]
    blocks: Vec<Linear>,
    #[layer(3, 3)]
    #[module(rename = "block{dept}")]
    last: Linear,
    #[module(skip = depth)]
    depth: usize,
}

fn main() {}
