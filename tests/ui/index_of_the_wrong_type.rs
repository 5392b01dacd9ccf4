use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    let i: i32 = 1;
    blocks[i](x)
})]
struct Net {
    #[layer(3, 3; for _ in 0..2)]
    blocks: Vec<Linear>,
}

fn main() {}
