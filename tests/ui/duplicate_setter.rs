use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10, bias = true, bias = false)]
    fc: Linear,
}

fn main() {}
