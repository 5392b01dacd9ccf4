use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(3, 3; for _ in 0..2, for _ in 0..2)]
    #[module(rename = "stage{0..}.block{1..}")]
    stages: Vec<Vec<Linear>>,
    #[layer(3, 3; for _ in 0..2)]
    #[module(rename = "layer{0..;0}")]
    layers: Vec<Linear>,
}

fn main() {}
