use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, bias = true, 10)]
    fc: Linear,
}

fn main() {}
