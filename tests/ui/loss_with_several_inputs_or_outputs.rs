use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| (fc(x), x), loss = mse_loss, optimizer = Sgd::new(0.1))]
struct TwoOutputs {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, y| fc(x) + y, loss = mse_loss, optimizer = Sgd::new(0.1))]
struct TwoInputs {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
