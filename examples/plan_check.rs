//! Holds the choice of a kernel to measurement: every way to compute a convolution is timed on random shapes,
//! and compared with the one that is chosen from the shape alone.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sconce::candle::{Device, Result, Tensor};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, Way, conv2d_by, ways_of};
use std::time::{Duration, Instant};

const HELP: &str = "\
Times every way to compute random convolutions (f32, batch norm's shift and ReLU, one thread), and tells in how
many of them the way that is chosen is the fastest, or slower by less than a tenth.

usage: cargo run --release --example plan_check -- [--shapes N] [--seed N] [--least SHARE] [--list] [--short]

--shapes N: random shapes for which there is a choice (300)
--seed N: other shapes (1)
--least SHARE: fails where the choice is within a tenth of the best in a smaller share of them, 0.95 say
--list: a line for every shape: its sizes, and the milliseconds and the cost of each way, the choice marked
--short: a few small shapes, only to see that it runs";

/// How much longer than the fastest the choice may take to count as right.
const MARGIN: f64 = 1.1;
/// Multiply-adds of a random shape, and the most elements of its images: a call should be over before the
/// machine turns to something else.
const WORK: std::ops::Range<f64> = 2e5..1e8;
const MOST_ELEMENTS: usize = 3 << 20;

struct Arguments {
    shapes: usize,
    seed: u64,
    least: f64,
    list: bool,
    budget: Duration,
    work: std::ops::Range<f64>,
}

/// A convolution with square kernel, image and settings.
struct Layer {
    batch: usize,
    inputs: usize,
    outputs: usize,
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
}

/// A way, its least milliseconds and its cost.
type Timed = (Way, f64, f64);

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let Some(arguments) = arguments()? else {
        println!("{HELP}");
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let mut random = StdRng::seed_from_u64(arguments.seed);
    let (mut right, mut ratios) = (0, vec![]);
    while ratios.len() < arguments.shapes {
        let layer = Layer::random(&mut random);
        if !arguments.work.contains(&layer.work()) || layer.elements() > MOST_ELEMENTS {
            continue;
        }
        let Some((ways, chosen)) = layer.times(arguments.budget)? else { continue };
        let best = ways.iter().map(|(_, time, _)| *time).fold(f64::INFINITY, f64::min);
        let time = ways.iter().find(|(way, ..)| *way == chosen).map_or(f64::NAN, |(_, time, _)| *time);
        let ratio = time / best;
        right += usize::from(ratio <= MARGIN);
        ratios.push(ratio);
        if arguments.list {
            println!("{}", layer.line(&ways, chosen, ratio));
        }
    }
    let share = right as f64 / ratios.len() as f64;
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let worst = ratios.iter().copied().fold(0., f64::max);
    println!(
        "{} shapes with a choice: within a tenth of the best in {:.1} %; {mean:.3} of its time in the geometric mean, {worst:.2} at worst",
        ratios.len(),
        100. * share
    );
    if share < arguments.least {
        return Err(format!("expected a share of at least {}", arguments.least).into());
    }
    Ok(())
}

/// `None` where the user asks for help.
fn arguments() -> std::result::Result<Option<Arguments>, Box<dyn std::error::Error>> {
    let mut result = Arguments {
        shapes: 300,
        seed: 1,
        least: 0.,
        list: false,
        budget: Duration::from_millis(40),
        work: WORK,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--shapes" => result.shapes = value()?.parse()?,
            "--seed" => result.seed = value()?.parse()?,
            "--least" => result.least = value()?.parse()?,
            "--list" => result.list = true,
            "--short" => {
                (result.shapes, result.budget) = (10, Duration::from_millis(1));
                result.work = 2e5..2e6;
            }
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(Some(result))
}

impl Layer {
    /// Of the kinds that networks are made of: mostly 3×3 and 1×1, all sizes equally often on a scale of factors.
    fn random(random: &mut StdRng) -> Self {
        let mut factor =
            |from: f64, to: f64| (from.ln() + (to / from).ln() * random.random::<f64>()).exp() as usize;
        let (batch, inputs, outputs) = (factor(1., 9.), factor(1., 700.), factor(1., 700.));
        let size = factor(3., 160.);
        let size = [size, if random.random_bool(0.7) { size } else { random.random_range(3..160) }];
        let kernel = if random.random_bool(0.7) { 3 } else { 1 };
        let stride = if random.random_bool(0.75) { 1 } else { 2 };
        let dilation = if kernel == 3 && stride == 1 && random.random_bool(0.1) { 2 } else { 1 };
        let depthwise = kernel == 3 && dilation == 1 && random.random_bool(0.15);
        let (groups, outputs) = if depthwise { (inputs, inputs) } else { (1, outputs) };
        Self { batch, inputs, outputs, size, kernel, stride, dilation, groups }
    }

    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.kernel / 2 * self.dilation; 2]; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    /// Multiply-adds.
    fn work(&self) -> f64 {
        let output = self.geometry().output_size(self.size, [self.kernel; 2]).unwrap_or([0; 2]);
        let taps = self.inputs / self.groups * self.kernel * self.kernel;
        (self.batch * self.outputs * output[0] * output[1] * taps) as f64
    }

    /// Of the larger image.
    fn elements(&self) -> usize {
        self.batch * self.size[0] * self.size[1] * self.inputs.max(self.outputs)
    }

    /// Every way with its least milliseconds, and the one that is chosen; `None` where there is only one.
    fn times(&self, budget: Duration) -> Result<Option<(Vec<Timed>, Way)>> {
        let device = Device::Cpu;
        let [height, width] = self.size;
        let input = Tensor::randn(0f32, 1., (self.batch, self.inputs, height, width), &device)?;
        let weight = (self.outputs, self.inputs / self.groups, self.kernel, self.kernel);
        let weight = Tensor::randn(0f32, 0.1, weight, &device)?;
        let shift = Some(Tensor::randn(0f32, 1., self.outputs, &device)?);
        let (geometry, epilogue) =
            (self.geometry(), Epilogue { shift, activation: Activation::Relu, ..Default::default() });
        let (ways, chosen) = ways_of(&input, &weight, &geometry)?;
        if ways.len() < 2 {
            return Ok(None);
        }
        let caches: Vec<PackedCache> = ways.iter().map(|_| PackedCache::default()).collect();
        let mut times = vec![f64::INFINITY; ways.len()];
        // In turns, so that what else the machine does meets all of them.
        let (start, mut turn) = (Instant::now(), 0);
        while turn < 4 || start.elapsed() < budget * ways.len() as u32 {
            for ((way, _), (cache, time)) in ways.iter().zip(caches.iter().zip(&mut times)) {
                let before = Instant::now();
                conv2d_by(*way, &input, &weight, &geometry, &epilogue, cache)?;
                *time = time.min(before.elapsed().as_secs_f64() * 1e3);
            }
            turn += 1;
        }
        let timed = ways.into_iter().zip(times).map(|((way, cost), time)| (way, time, cost));
        Ok(Some((timed.collect(), chosen)))
    }

    fn line(&self, ways: &[Timed], chosen: Way, ratio: f64) -> String {
        let Self { batch, inputs, outputs, size: [height, width], kernel, stride, dilation, groups } = self;
        let mut line = format!(
            "{ratio:.2} {batch}×{inputs}→{outputs} {height}×{width} kernel {kernel} stride {stride} dilation {dilation} groups {groups}:"
        );
        for (way, time, cost) in ways {
            let mark = if *way == chosen { "*" } else { "" };
            line += &format!("  {mark}{way:?} {time:.4} ({:.4})", cost / 127e6);
        }
        line
    }
}
