//! Checks the selection of convolution algorithms by measurement: times all candidates on random convolutions in both
//! memory layouts, and compares the algorithm that `select` returns with the fastest one.

#[path = "common/arguments.rs"]
mod arguments;

use std::time::{Duration, Instant};

use lexopt::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sconce::candle::{Device, Result, Tensor};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache};
use sconce::kernels::internal::blocked::conv::{self, Call};
use sconce::kernels::internal::{ConvShape, Layout, Packing, isa};
use sconce::kernels::testing::{
    Algorithm, ConvProblem, ElementFormat, conv2d_with_algorithm, microarchitecture,
};

const HELP: &str = "\
Times all candidate algorithms on random convolutions (f32, a shift and ReLU, one thread) from NCHW to NCHW, from NCHWc
to NCHWc and from NCHW to NCHWc. Reports how often the selected algorithm is at most a tenth slower than the fastest.

usage: cargo run --release --example plan_check -- [--shapes N] [--seed N] [--least SHARE] [--list] [--short]

--shapes N: random convolutions with at least two candidates (default: 300)
--seed N: the seed of the random shapes (default: 1)
--least SHARE: the required share of convolutions, for example 0.95, for which the selected algorithm is at most a
  tenth slower than the fastest; fail if the share is lower
--list: print a line for every convolution: its sizes, and for each candidate the measured milliseconds and, in
  parentheses, the estimated ones; * marks the selected algorithm
--short: a few small shapes, to check that the program runs";

/// The selection counts as correct if the time of the selected algorithm is at most this multiple of the fastest time.
const MARGIN: f64 = 1.1;
/// The estimated cost that corresponds to one millisecond. `--list` prints each estimated cost in milliseconds, next to
/// the measured time.
const COST_PER_MS: f64 = 127e6;
/// The range of multiply-adds of a random shape. The upper limit keeps the calls short, so that other processes rarely
/// interrupt them.
const WORK: std::ops::Range<f64> = 2e5..1e8;
/// The maximum of [`Layer::elements`] for a random shape.
const MAX_ELEMENTS: usize = 3 << 20;

struct Arguments {
    shapes: usize,
    seed: u64,
    least: f64,
    list: bool,
    budget: Duration,
    work: std::ops::Range<f64>,
}

/// A convolution with a square kernel and the same settings on both axes.
struct Layer {
    batch: usize,
    in_channels: usize,
    out_channels: usize,
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
    /// The layouts of input and output.
    layouts: [Layout; 2],
}

/// An algorithm, its minimum time in milliseconds and its estimated cost.
type Timed = (Algorithm, f64, f64);

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments::parse(HELP, parse);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let mut random = StdRng::seed_from_u64(arguments.seed);
    let (mut correct, mut ratios) = (0, vec![]);
    while ratios.len() < arguments.shapes {
        let layer = Layer::random(&mut random);
        if !arguments.work.contains(&layer.work()) || layer.elements() > MAX_ELEMENTS {
            continue;
        }
        let Some((timed, selected)) = layer.times(arguments.budget)? else { continue };
        let best = timed.iter().map(|(_, time, _)| *time).fold(f64::INFINITY, f64::min);
        let time_of_selected = timed.iter().find(|(algorithm, ..)| *algorithm == selected);
        let time = time_of_selected.map_or(f64::NAN, |(_, time, _)| *time);
        let ratio = time / best;
        correct += usize::from(ratio <= MARGIN);
        ratios.push(ratio);
        if arguments.list {
            println!("{}", layer.line(&timed, selected, ratio));
        }
    }
    let share = correct as f64 / ratios.len() as f64;
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let worst = ratios.iter().copied().fold(0., f64::max);
    println!(
        "{} shapes with at least two candidates: the selected algorithm is at most a tenth slower than the fastest for \
         {:.1} % of them; its time relative to the fastest is {mean:.3} in the geometric mean, {worst:.2} at worst",
        ratios.len(),
        100. * share
    );
    if share < arguments.least {
        return Err(format!("expected a share of at least {}, found {share:.3}", arguments.least).into());
    }
    Ok(())
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments {
        shapes: 300,
        seed: 1,
        least: 0.,
        list: false,
        budget: Duration::from_millis(40),
        work: WORK,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("shapes") => arguments.shapes = parser.value()?.parse()?,
            Long("seed") => arguments.seed = parser.value()?.parse()?,
            Long("least") => arguments.least = parser.value()?.parse()?,
            Long("list") => arguments.list = true,
            Long("short") => {
                arguments.shapes = 10;
                arguments.budget = Duration::from_millis(1);
                arguments.work = 2e5..2e6;
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

impl Layer {
    /// Returns a random convolution. As in common networks, the kernel is 3×3 or 1×1. Sizes are log-uniform.
    fn random(random: &mut StdRng) -> Self {
        let mut log_uniform =
            |low: f64, high: f64| (low.ln() + (high / low).ln() * random.random::<f64>()).exp() as usize;
        let (batch, in_channels, out_channels) =
            (log_uniform(1., 9.), log_uniform(1., 700.), log_uniform(1., 700.));
        let size = log_uniform(3., 160.);
        let size = [size, if random.random_bool(0.7) { size } else { random.random_range(3..160) }];
        let kernel = if random.random_bool(0.7) { 3 } else { 1 };
        let stride = if random.random_bool(0.75) { 1 } else { 2 };
        let dilation = if kernel == 3 && stride == 1 && random.random_bool(0.1) { 2 } else { 1 };
        let depthwise = kernel == 3 && dilation == 1 && random.random_bool(0.15);
        let (groups, out_channels) = if depthwise { (in_channels, in_channels) } else { (1, out_channels) };
        let layouts = match random.random_range(0..10) {
            0..5 => [Layout::Nchw; 2],
            5..9 => [Layout::Nchwc; 2],
            _ => [Layout::Nchw, Layout::Nchwc],
        };
        Self { batch, in_channels, out_channels, size, kernel, stride, dilation, groups, layouts }
    }

    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.kernel / 2 * self.dilation; 2]; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    /// Returns the number of multiply-adds.
    fn work(&self) -> f64 {
        let output = self.geometry().output_size(self.size, [self.kernel; 2]).unwrap_or([0; 2]);
        let depth = self.in_channels / self.groups * self.kernel * self.kernel;
        (self.batch * self.out_channels * output[0] * output[1] * depth) as f64
    }

    /// Returns upper bounds for the numbers of elements of the input and of the output.
    fn elements(&self) -> usize {
        self.batch * self.size[0] * self.size[1] * self.in_channels.max(self.out_channels)
    }

    fn problem(&self) -> Result<ConvProblem> {
        let [height, width] = self.size;
        let input = [self.batch, self.in_channels, height, width];
        let weight = [self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel];
        Ok(ConvProblem {
            shape: ConvShape::new(&input, &weight, &self.geometry())?,
            format: ElementFormat::F32,
            input: self.layouts[0],
            output: self.layouts[1],
            weight_cached: true,
            isa: isa(),
            microarchitecture: microarchitecture(),
        })
    }

    /// Returns the candidates other than the reference, with their minimum times and estimated costs, and the selected
    /// algorithm. Returns `None` if there are fewer than two such candidates.
    fn times(&self, budget: Duration) -> Result<Option<(Vec<Timed>, Algorithm)>> {
        let problem = self.problem()?;
        let candidates = problem.candidates().filter(|algorithm| *algorithm != Algorithm::Reference);
        let candidates: Vec<_> = candidates.collect();
        if candidates.len() < 2 {
            return Ok(None);
        }
        let mut runner = Runner::new(problem)?;
        let caches: Vec<PackedCache> = candidates.iter().map(|_| PackedCache::default()).collect();
        let mut times = vec![f64::INFINITY; candidates.len()];
        // Alternate between the candidates, so that a change in the machine's load affects all of them.
        let (start, mut round) = (Instant::now(), 0);
        while round < 4 || start.elapsed() < budget * candidates.len() as u32 {
            for (algorithm, (cache, time)) in candidates.iter().zip(caches.iter().zip(&mut times)) {
                let before = Instant::now();
                runner.run(*algorithm, cache)?;
                *time = time.min(before.elapsed().as_secs_f64() * 1e3);
            }
            round += 1;
        }
        let timed = candidates.into_iter().zip(times);
        let timed = timed.map(|(algorithm, time)| (algorithm, time, problem.cost(algorithm)));
        Ok(Some((timed.collect(), problem.select())))
    }

    /// Returns the line that `--list` prints.
    fn line(&self, timed: &[Timed], selected: Algorithm, ratio: f64) -> String {
        let Self {
            batch,
            in_channels,
            out_channels,
            size: [height, width],
            kernel,
            stride,
            dilation,
            groups,
            layouts,
        } = self;
        let mut line = format!(
            "{ratio:.2} {layouts:?} {batch}×{in_channels}→{out_channels} {height}×{width} kernel {kernel} \
             stride {stride} dilation {dilation} groups {groups}:"
        );
        for (algorithm, time, cost) in timed {
            let mark = if *algorithm == selected { "*" } else { "" };
            line += &format!("  {mark}{algorithm:?} {time:.4} ({:.4})", cost / COST_PER_MS);
        }
        line
    }
}

/// The operands of one problem, and a buffer for outputs in `Nchwc`.
struct Runner {
    problem: ConvProblem,
    input: Tensor,
    weight: Tensor,
    epilogue: Epilogue,
    /// The values of input, weight and shift as plain arrays, for problems whose output is in `Nchwc`.
    values: [Vec<f32>; 3],
    output: Vec<f32>,
}

impl Runner {
    fn new(problem: ConvProblem) -> Result<Self> {
        let (device, shape, lanes) = (Device::Cpu, &problem.shape, problem.isa.lanes());
        let dims = [shape.batch, shape.in_channels, shape.input[0], shape.input[1]];
        let input = Tensor::randn(0f32, 1., dims.to_vec(), &device)?;
        let weight = Tensor::randn(0f32, 0.1, shape.weight_dims().to_vec(), &device)?;
        let shift = Tensor::randn(0f32, 1., shape.out_channels, &device)?;
        let elements = Tensor::randn(0f32, 1., problem.input.elements(dims, lanes), &device)?.to_vec1()?;
        let values = [elements, weight.flatten_all()?.to_vec1()?, shift.to_vec1()?];
        let output = vec![0.; problem.output.elements(shape.output_dims(), lanes)];
        let epilogue = Epilogue { shift: Some(shift), activation: Activation::Relu, ..Epilogue::default() };
        Ok(Self { problem, input, weight, epilogue, values, output })
    }

    /// Runs the convolution with `algorithm` once.
    fn run(&mut self, algorithm: Algorithm, cache: &PackedCache) -> Result<()> {
        let (ConvProblem { shape, input: layout, isa, .. }, weight) = (&self.problem, &self.weight);
        if self.problem.output == Layout::Nchw {
            return conv2d_with_algorithm(
                algorithm,
                &self.input,
                weight,
                &shape.geometry,
                &self.epilogue,
                cache,
                *isa,
            )
            .map(|_| ());
        }
        let [elements, weight_values, shift] = &self.values;
        let packing = Some(Packing::with_algorithm(algorithm, cache, weight.id()));
        let call = Call::new(&elements[..], &weight_values[..]);
        let call = Call { shift: Some(shift), activation: Activation::Relu, packing, ..call };
        conv::conv2d(shape, *layout, &call, &mut self.output, *isa)
    }
}
