//! `loss`, `optimizer` and `schedule` of a derived network.

use sconce::prelude::*;
use sconce::train::Trainable;

const DEVICE: Device = Device::Cpu;

fn data() -> Result<(Tensor, Tensor)> {
    let x = Tensor::arange(-4f32, 4., &DEVICE)?.reshape((8, 1))?;
    let y = ((&x * 3.)? + 1.)?;
    Ok((x, y))
}

/// Trains the network, and asserts that the training loss decreases.
fn assert_learns(network: &(impl Trainable + Network)) -> Result<()> {
    let history = network.trainer().quiet(true).fit(&data()?, &(), Epochs(30))?;
    let losses: Vec<f64> = history.epochs().iter().map(|epoch| epoch.train.loss).collect();
    assert!(losses[29] < 0.9 * losses[0], "{losses:?}");
    Ok(())
}

fn own_loss(output: &Tensor, target: &Tensor) -> Result<Tensor> {
    mse_loss(output, target)
}

mod losses {
    pub const SCALE: f64 = 0.5;
}

#[derive(Module)]
#[module(loss = SmoothL1Loss::new().beta(0.5), optimizer = Sgd::new(0.02).momentum(0.5))]
struct Configured(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = |o: &Tensor, t: &Tensor| Ok((o - t)?.sqr()?.mean_all()?), optimizer = Sgd::new(0.02))]
struct Closure(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = |o, t| Ok((mse_loss(o, t)? * losses::SCALE)?), optimizer = { let rate = 0.02; Sgd::new(rate) })]
struct ClosureWithoutTypes(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = own_loss, optimizer = AdamW::new(0.05))]
struct Function(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = sconce::nn::loss::mse, optimizer = Sgd::new(0.02))]
struct CandleFunction(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(
    args(rate: f64, scale: f64 = 1.0, every: usize = 1),
    loss = |output, target| Ok((mse_loss(output, target)? * scale)?),
    optimizer = Sgd::new(rate),
    schedule = (StepLr::new(every).gamma(0.5), Every::Epoch),
)]
struct Args {
    #[layer(1, 1)]
    fc: Linear,
    #[module(skip = rate)]
    rate: f64,
    #[module(skip = scale)]
    scale: f64,
    #[module(skip = every)]
    every: usize,
}

#[derive(Module)]
#[module(args(rate: f64), loss = mse_loss, optimizer = Sgd::new(rate))]
enum Enumeration {
    Net {
        #[layer(1, 1)]
        fc: Linear,
        #[module(skip = rate)]
        rate: f64,
    },
}

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(0.02), schedule = Cosine::new().warmup(2))]
struct EachStep(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(0.02), schedule = |step| 0.5f64.powi(step as i32))]
struct ClosureSchedule(#[layer(1, 1)] Linear);

#[derive(Module)]
#[module(loss = mse_loss, optimizer = Sgd::new(1e-4), schedule = ReduceLrOnPlateau::new().patience(0).threshold(0.5))]
struct OnPlateau(#[layer(1, 1)] Linear);

#[test]
fn the_schedule_advances_at_each_step_or_at_a_plateau() -> Result<()> {
    let rates = |fit: &dyn Fn() -> Result<History>| -> Result<Vec<f64>> {
        Ok(fit()?.epochs().iter().map(|epoch| epoch.learning_rate).collect())
    };
    let (each_step, closure, plateau) =
        (EachStep::new(&DEVICE)?, ClosureSchedule::new(&DEVICE)?, OnPlateau::new(&DEVICE)?);
    let cosine = Cosine::new().warmup(2).total_steps(6);
    let found = rates(&|| each_step.trainer().quiet(true).fit(&data()?, &(), Epochs(6)))?;
    assert_eq!(found, [0, 1, 2, 3, 4, 5].map(|step| cosine.rate(0.02, step)));
    let found = rates(&|| closure.trainer().quiet(true).fit(&data()?, &(), Epochs(3)))?;
    assert_eq!(found, [0.02, 0.01, 0.005]);
    let found = rates(&|| plateau.trainer().quiet(true).fit(&data()?, &(), Epochs(3)))?;
    // The second epoch does not halve the loss, which the threshold requires, so the rate falls for the third.
    assert_eq!(found, [1e-4, 1e-4, 1e-4 * 0.1]);
    Ok(())
}

#[test]
fn the_loss_is_a_function_a_closure_or_a_configured_loss() -> Result<()> {
    sconce::manual_seed(0);
    assert_learns(&Configured::new(&DEVICE)?)?;
    assert_learns(&Closure::new(&DEVICE)?)?;
    assert_learns(&ClosureWithoutTypes::new(&DEVICE)?)?;
    assert_learns(&Function::new(&DEVICE)?)?;
    assert_learns(&CandleFunction::new(&DEVICE)?)?;
    assert_learns(&Enumeration::new(0.02, &DEVICE)?)
}

#[test]
fn the_expressions_can_use_plain_data() -> Result<()> {
    let net = Args::config(0.02).scale(3.0).every(10).init(&DEVICE)?;
    let (x, y) = data()?;
    let loss = net.loss(&x, &y)?.to_scalar::<f32>()?;
    assert_eq!(loss, 3.0 * mse_loss(&x, &y)?.to_scalar::<f32>()?);
    let history = net.trainer().quiet(true).fit(&data()?, &(), Epochs(20))?;
    assert_eq!(history.last().map(|epoch| epoch.learning_rate), Some(0.01));
    Ok(())
}
