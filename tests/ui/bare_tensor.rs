use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| x * scale)]
struct Net {
    scale: Tensor,
}

fn main() {}
