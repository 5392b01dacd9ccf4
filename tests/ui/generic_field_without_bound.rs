use sconce::prelude::*;

#[derive(Module)]
struct Net<L> {
    #[layer(3, 3)]
    fc: Linear,
    act: L,
}

fn main() {}
