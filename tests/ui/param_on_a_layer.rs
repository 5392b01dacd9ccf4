use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[param((10, 10))]
    fc: Linear,
}

fn main() {}
