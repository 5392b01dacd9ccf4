use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    embed: Linear,
    #[layer(10, 10)]
    #[module(tie = "embd.weight")]
    head: Linear,
}

fn main() {}
