use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, "twenty")]
    fc: Linear,
}

fn main() {}
