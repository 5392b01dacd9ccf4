use sconce::prelude::*;

#[derive(Module)]
struct Net {
    conv1: Conv2d,
}

fn main() {}
