use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 20, 5)]
    fc: Linear,
}

fn main() {}
