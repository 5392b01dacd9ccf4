use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| x * scale)]
struct Net {
    #[param((3,))]
    #[module(rename = "")]
    scale: Tensor,
}

fn main() {}
