use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10; for i in 0..3)]
    blocks: Linear,
}

fn main() {}
