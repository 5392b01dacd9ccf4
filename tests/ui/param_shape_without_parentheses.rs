use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| x * scale)]
struct Net {
    #[param(10, 10)]
    scale: Tensor,
}

fn main() {}
