#![deny(deprecated)]
use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| act1(fc1(x)))]
struct Net {
    #[layer(10, 10)]
    fc1: Linear,
    act1: Relu,
    act2: Relu,
}

fn main() {}
