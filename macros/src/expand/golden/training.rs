use sconce::prelude::*;

/// A network with plain data, which `forward`, the loss, the optimizer and the schedule use.
#[derive(Module)]
#[module(
    args(rate: f64, weights: Vec<f64> = vec![1.0]),
    forward = |x| {
        let shift: f64 = weights.iter().sum();
        fc(x) * gain + shift
    },
    loss = |output, target| Ok((mse_loss(output, target)? * gain)?),
    optimizer = Sgd::new(rate).momentum(0.9),
    schedule = (StepLr::new(10), Every::Epoch),
)]
pub struct Training {
    #[layer(1, 1)]
    fc: Linear,
    #[module(skip = rate)]
    rate: f64,
    #[module(skip = weights)]
    weights: Vec<f64>,
    #[module(skip = 2.0)]
    gain: f64,
    #[module(skip)]
    steps: usize,
}
