use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| relu(conv3(conv1(x))))]
struct Net {
    #[layer(1, 8, 3)]
    conv1: Conv2d,
    #[layer(8, 8, 3)]
    conv2: Conv2d,
}

fn main() {}
