use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10; if true)]
    fc: Linear,
}

fn main() {}
