use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(1, 20, 5, strde = 2)]
    conv1: Conv2d,
}

fn main() {}
