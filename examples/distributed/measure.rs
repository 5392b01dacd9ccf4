//! The time of a reduction on this machine, a prediction for a network of machines, and the overlap with the backward
//! pass.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sconce::prelude::*;
use sconce::random;
use sconce::train::distributed::{Communicator, Distributed};

use crate::Options;

/// The number of parameters of ResNet-50.
const RESNET_50: f64 = 25_557_032.;
/// The size of a bucket by default, as a power of 2. Larger messages cost more per byte, because their memory is not
/// reused.
const BUCKET: u32 = 22;
/// The number of buckets of at least 4 MiB into which they are divided.
const BUCKETS_OF_RESNET_50: f64 = 19.;

pub fn run(communicator: Arc<dyn Communicator>, options: &Options) -> Result<()> {
    let is_root = communicator.rank() == 0;
    // As in training. Otherwise, the system would provide and clear the memory of each large message again.
    sconce::train::keep_memory(true);
    let costs = [DType::F32, DType::BF16].map(|dtype| time_reductions(&*communicator, dtype, options.short));
    let [f32_cost, bf16_cost] = costs;
    let costs = [f32_cost?, bf16_cost?];
    if is_root {
        predict(costs);
        println!("\noverlap of reduction and backward pass");
        println!("network            ms per step  reduction   exposed   overlap");
    }
    for gigabits in [None, Some(10.), Some(1.)] {
        time_training(&communicator, gigabits, options.short)?;
    }
    Ok(())
}

/// Prints the time of reductions of several sizes. Returns the time per byte in seconds.
fn time_reductions(communicator: &dyn Communicator, dtype: DType, short: bool) -> Result<f64> {
    let is_root = communicator.rank() == 0;
    if is_root {
        println!("sums of {dtype:?} on {} ranks\n       bytes          µs", communicator.size());
    }
    let mut times = Vec::new();
    for exponent in [2, 8, 12, 16, 20, BUCKET, 26].into_iter().take(if short { 4 } else { 7 }) {
        let bytes = 1usize << exponent;
        let values = Tensor::ones(bytes / dtype.size_in_bytes(), dtype, &Device::Cpu)?;
        // All ranks must take the same number of calls, so it does not depend on the time.
        let calls = ((1 << 26) / bytes).clamp(5, if short { 50 } else { 2000 });
        let mut samples = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            communicator.all_reduce(&values)?;
            samples.push(start.elapsed().as_secs_f64());
        }
        samples.sort_by(f64::total_cmp);
        let median = samples[calls / 2];
        if is_root {
            println!("{bytes:>12} {:>11.1}", 1e6 * median);
        }
        if exponent <= BUCKET {
            times.push((bytes as f64, median));
        }
    }
    let (small, latency) = times[0];
    let (large, time) = times[times.len() - 1];
    let per_byte = (time - latency) / (large - small);
    if is_root {
        println!("latency {:.1} µs, {:.3} ns per byte\n", 1e6 * latency, 1e9 * per_byte);
    }
    Ok(per_byte)
}

/// Prints the predicted time of a reduction of the gradients of ResNet-50.
///
/// A ring sends 2 (n - 1) / n of the bytes over each link, in 2 (n - 1) messages for each bucket. The time per byte
/// that was measured here, without a network, is that of copying and adding up; it comes on top. `per_byte` is that
/// time in f32 and in bf16.
fn predict(per_byte: [f64; 2]) {
    println!("ResNet-50, predicted: ms for a reduction of all gradients");
    println!("ranks  Gbit/s  latency µs     f32    bf16");
    for ranks in [8., 64.] {
        for (gigabits, latency) in [(10., 20e-6), (100., 5e-6)] {
            let time = |bytes: f64, per_byte: f64| {
                let share = 2. * (ranks - 1.) / ranks;
                let network = share * bytes * 8. / (gigabits * 1e9);
                let messages = BUCKETS_OF_RESNET_50 * 2. * (ranks - 1.) * latency;
                1e3 * (network + messages + bytes * per_byte)
            };
            let [f32, bf16] = [time(4. * RESNET_50, per_byte[0]), time(2. * RESNET_50, per_byte[1])];
            println!("{ranks:>5} {gigabits:>7} {:>11} {f32:>7.0} {bf16:>7.0}", latency * 1e6);
        }
    }
}

/// A network with 2.2 million parameters.
#[derive(Module)]
#[module(forward = |x| {
    let x = max_pool2d(relu(conv2(relu(conv1(x)))), 2);
    let x = max_pool2d(relu(conv4(relu(conv3(x)))), 2);
    let x = relu(conv6(relu(conv5(x))));
    fc(flatten(adaptive_avg_pool2d(x, 1), 1))
})]
struct Net {
    #[layer(3, 64, 3, padding = 1)]
    conv1: Conv2d,
    #[layer(64, 64, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(64, 128, 3, padding = 1)]
    conv3: Conv2d,
    #[layer(128, 256, 3, padding = 1)]
    conv4: Conv2d,
    #[layer(256, 256, 3, padding = 1)]
    conv5: Conv2d,
    #[layer(256, 512, 3, padding = 1)]
    conv6: Conv2d,
    #[layer(512, 10)]
    fc: Linear,
}

/// Trains, and prints how much of the reduction the backward pass hides. With `gigabits`, each reduction takes as long
/// as it would on a network of that speed.
fn time_training(communicator: &Arc<dyn Communicator>, gigabits: Option<f64>, short: bool) -> Result<()> {
    let (warmup, steps) = if short { (2, 2) } else { (3, 20) };
    manual_seed(0);
    let model = Net::new(&Device::Cpu)?;
    let x = random::normal((8, 3, 32, 32), 0., 1., DType::F32, &Device::Cpu)?;
    let batch = (x, Tensor::arange(0u32, 8, &Device::Cpu)?);
    let network = Slow { inner: communicator.clone(), gigabits };
    let settings = Distributed::new(network).bucket_bytes(1 << 20);
    let mut trainer = Trainer::new(&model, cross_entropy, Sgd::new(0.01)).distributed(settings);
    for _ in 0..warmup {
        trainer.step(&batch)?;
    }
    let Some(before) = trainer.communication() else { return Ok(()) };
    let start = Instant::now();
    for _ in 0..steps {
        trainer.step(&batch)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let Some(after) = trainer.communication() else { return Ok(()) };
    if communicator.rank() == 0 {
        let name = gigabits.map_or("as it is".into(), |gigabits| format!("{gigabits} Gbit/s"));
        let per_step = |total: Duration| 1e3 * total.as_secs_f64() / f64::from(steps);
        let reduction = after.reduction - before.reduction;
        let exposed = after.exposed - before.exposed;
        println!(
            "{name:<17} {:>12.1} {:>7.1} ms {:>6.1} ms {:>7.0} %",
            1e3 * seconds / f64::from(steps),
            per_step(reduction),
            per_step(exposed),
            100. * (1. - exposed.as_secs_f64() / reduction.as_secs_f64()).max(0.)
        );
    }
    Ok(())
}

/// A communicator that waits as long as a slower network would need for the bytes.
struct Slow {
    inner: Arc<dyn Communicator>,
    gigabits: Option<f64>,
}

impl Communicator for Slow {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        let sum = self.inner.all_reduce(values)?;
        if let Some(gigabits) = self.gigabits {
            let ranks = self.size() as f64;
            let bits = 8. * (values.elem_count() * values.dtype().size_in_bytes()) as f64;
            sleep(Duration::from_secs_f64(2. * (ranks - 1.) / ranks * bits / (gigabits * 1e9)));
        }
        Ok(sum)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        self.inner.broadcast(values, root)
    }

    fn abort(&self, cause: &str) {
        self.inner.abort(cause);
    }
}
