use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(3, 8, 3)]
    conv: Conv2d,
    act: ReLU,
}

fn main() {}
