use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10; for i in 0..3)]
    #[module(rename = "layer{i}")]
    layers: Vec<Linear>,
    #[layer(10, 10)]
    #[module(rename = "head{1..}")]
    head: Linear,
    #[layer(10, 10; for i in 0..3)]
    #[module(rename = "a..layer{1..}")]
    tail: Vec<Linear>,
}

fn main() {}
