use sconce::prelude::*;

#[derive(Module)]
#[module(args(rate: f64), loss = mse_loss, optimizer = Sgd::new(rate))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
