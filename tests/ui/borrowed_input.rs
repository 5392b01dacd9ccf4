use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x: &Signal| fc(x))]
struct Net {
    #[layer(10, 10)]
    fc: Linear,
}

fn main() {}
