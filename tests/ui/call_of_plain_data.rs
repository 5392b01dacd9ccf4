use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| width(fc(x)))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
    #[module(skip)]
    width: usize,
}

fn main() {}
