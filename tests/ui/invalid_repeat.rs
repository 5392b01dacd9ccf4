use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10; while true)]
    fc: Linear,
}

fn main() {}
