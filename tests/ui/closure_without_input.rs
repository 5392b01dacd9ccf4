use sconce::prelude::*;

#[derive(Module)]
#[module(forward = || fc(1.0))]
struct Net {
    #[layer(10, 10)]
    fc: Linear,
}

fn main() {}
