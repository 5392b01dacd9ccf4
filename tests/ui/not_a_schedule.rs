use sconce::prelude::*;

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(0.1), schedule = 0.5)]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
