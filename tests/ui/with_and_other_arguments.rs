use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, with = |vb| sconce::nn::linear(10, 10, vb))]
    fc: sconce::nn::Linear,
}

fn main() {}
