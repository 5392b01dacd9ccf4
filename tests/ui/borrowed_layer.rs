use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(3, 3)]
    fc: &'static Linear,
    act: &'static Relu,
}

fn main() {}
