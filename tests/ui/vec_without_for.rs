use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    blocks: Vec<Linear>,
}

fn main() {}
