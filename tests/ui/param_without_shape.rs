use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| x * scale)]
struct Net {
    #[param(init = ones)]
    scale: Tensor,
}

fn main() {}
