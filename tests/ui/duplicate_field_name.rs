use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    fc1: Linear,
    #[layer(10, 10)]
    #[module(rename = "fc1")]
    fc2: Linear,
}

fn main() {}
