//! Measures how much time the trainer adds to a step. A hand-written loop, `Trainer::step` and `Trainer::fit` take
//! turns on the same network and batch. Also measures the memory of the process during 10,000 steps.
//!
//! `cargo bench -p sconce-benches --bench trainer` runs everything. The argument `--bench`, which cargo passes, is
//! ignored.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use sconce::prelude::*;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const DEVICE: Device = Device::Cpu;

/// A learning rate that is too low to learn the batch. If the network learned it, the gradients would become denormal
/// numbers, whose arithmetic is slow.
const LEARNING_RATE: f64 = 1e-7;

/// How long each network is measured.
const DURATION: Duration = Duration::from_secs(30);

/// The number of steps in an epoch, and the number of epochs that are timed together.
const EPOCH: usize = 100;
const EPOCHS: usize = 3;

/// The number of steps between two measurements of the memory.
const STEPS: usize = 2_000;

/// A network with few operations, so that the trainer's own work is a visible share of a step.
#[derive(Module)]
#[module(loss = cross_entropy, optimizer = AdamW::new(LEARNING_RATE))]
struct Mlp {
    #[layer(784, 256)]
    fc1: Linear,
    act: Relu,
    #[layer(256, 10)]
    fc2: Linear,
}

/// A small convolution network, as for Fashion-MNIST.
#[derive(Module)]
#[module(
    loss = cross_entropy,
    optimizer = AdamW::new(LEARNING_RATE),
    forward = |x| {
        let x = max_pool2d(relu(bn1(conv1(x))), 2);
        fc(relu(bn2(conv2(x))).mean((2, 3)))
    },
)]
struct Cnn {
    #[layer(1, 16, 3, padding = 1)]
    conv1: Conv2d,
    #[layer(16)]
    bn1: BatchNorm,
    #[layer(16, 32, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(32)]
    bn2: BatchNorm,
    #[layer(32, 10)]
    fc: Linear,
}

fn main() -> Result<()> {
    let labels = |count: u32| Tensor::from_iter((0..count).map(|i| i % 10), &DEVICE);
    let normal = |shape: &[usize]| sconce::random::normal(shape, 0., 1., DType::F32, &DEVICE);
    println!("network        by hand      step  ratio       fit  ratio   (medians, µs per step)");
    compare("mlp, 10", &Mlp::new(&DEVICE)?, (normal(&[10, 784])?, labels(10)?))?;
    let batch = (normal(&[64, 784])?, labels(64)?);
    compare("mlp, 64", &Mlp::new(&DEVICE)?, batch)?;
    let batch = (normal(&[64, 1, 28, 28])?, labels(64)?);
    compare("cnn, 64", &Cnn::new(&DEVICE)?, batch)?;
    memory()
}

/// Runs the three loops in turn. Prints the median time of a step in each, and the medians of the ratios of
/// `Trainer::step` and `Trainer::fit` to the hand-written loop.
fn compare<M>(name: &str, network: &M, batch: (Tensor, Tensor)) -> Result<()>
where
    M: sconce::train::Trainable + Forward<Signal, Output = Signal>,
{
    let mut optimizer = AdamW::new(LEARNING_RATE).build(network.trainable_parameters())?;
    let mut by_hand = || -> Result<()> {
        let output = network.call((&batch.0).into(), Mode::Train).into_tensor()?;
        let loss = cross_entropy(&output, &batch.1)?;
        assert!(loss.to_scalar::<f32>()?.is_finite());
        optimizer.step(&sconce::backward(&loss)?)
    };
    let mut trainer = network.trainer().quiet(true);

    let count = EPOCH * EPOCHS;
    let batches = vec![batch.clone(); EPOCH];
    let mut times = [(); 3].map(|()| Vec::new());
    let start = Instant::now();
    while start.elapsed() < DURATION {
        times[0].push(time(count, || (0..count).try_for_each(|_| by_hand()))?);
        times[1].push(time(count, || (0..count).try_for_each(|_| trainer.step(&batch).map(drop)))?);
        times[2].push(time(count, || {
            network.trainer().quiet(true).fit(&batches, &(), Epochs(EPOCHS)).map(drop)
        })?);
    }
    // The speed of the machine changes, so each time is divided by that of the hand-written loop in the same round.
    let ratio = |index: usize| {
        median(times[index].iter().zip(&times[0]).map(|(time, by_hand)| time / by_hand).collect())
    };
    let (step_ratio, fit_ratio) = (ratio(1), ratio(2));
    let [by_hand, step, fit] = times.map(median);
    println!("{name:<12}{by_hand:>10.1}{step:>10.1}{step_ratio:>7.3}{fit:>10.1}{fit_ratio:>7.3}");
    Ok(())
}

/// Calls `run`, which takes `count` steps. Returns the mean time of a step, in microseconds.
fn time(count: usize, run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Trains for 10,000 steps. Prints the memory in use after every [`STEPS`] steps, and the peak.
fn memory() -> Result<()> {
    let network = Mlp::new(&DEVICE)?;
    let batch = (Tensor::ones((8, 784), DType::F32, &DEVICE)?, Tensor::zeros(8, DType::U32, &DEVICE)?);
    let mut trainer = network.trainer().quiet(true);
    print!("\nmemory in use, in bytes, after");
    for part in 1..=5 {
        for _ in 0..STEPS {
            trainer.step(&batch)?;
        }
        print!("   {} steps: {}", part * STEPS, MEMORY.current_usage());
    }
    println!("   peak: {}", MEMORY.peak_usage());
    Ok(())
}
