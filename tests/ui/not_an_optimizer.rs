use sconce::prelude::*;

#[derive(Module)]
#[module(loss = mse_loss, optimizer = MseLoss::new())]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
