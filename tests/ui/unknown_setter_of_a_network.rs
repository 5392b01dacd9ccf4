use sconce::prelude::*;

#[derive(Module)]
#[module(args(width: usize, bias: bool = true))]
struct Block {
    #[layer(width, width, bias = bias)]
    fc: Linear,
}

#[derive(Module)]
struct Net {
    #[layer(8, biass = false)]
    block: Block,
}

fn main() {
    // The message shows the name of the config's type.
    let _: usize = Block::config(8);
}
