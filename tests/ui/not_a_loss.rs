use sconce::prelude::*;

#[derive(Module)]
#[module(loss = 3, optimizer = Sgd::new(0.1))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
