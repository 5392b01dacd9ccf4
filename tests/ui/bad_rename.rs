use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    #[module(rename = "features..0")]
    fc: Linear,
}

fn main() {}
