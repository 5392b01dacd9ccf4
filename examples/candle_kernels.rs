//! Runs a plain candle network, without a derive, in two versions: with candle's `conv2d`, `broadcast_add` and `relu`,
//! and with the kernels of the crate sconce-kernels. Prints both times and the largest difference of the outputs.

#[path = "common/arguments.rs"]
mod arguments;

use std::error::Error;
use std::time::{Duration, Instant};

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap};
use lexopt::prelude::*;
use sconce_kernels::{Activation, ConvGeometry, Epilogue, PackedCache, conv2d};

const HELP: &str = "\
Runs a plain candle network with candle's convolutions and with sconce-kernels' convolutions, and compares them.

usage: cargo run --release --example candle_kernels -- [--batch N] [--short]

--batch N: the number of images (default: 1)
--short: only three timed calls of each version, to check that the program runs";

/// The height and width of the images.
const SIZE: usize = 112;
/// The output channels of each convolution. Every second convolution halves height and width.
const CHANNELS: [usize; 6] = [32, 32, 64, 64, 128, 128];
const CLASSES: usize = 10;

/// The largest allowed difference between the class scores of the two versions, relative to the largest score.
const TOLERANCE: f32 = 1e-4;

/// A 3×3 convolution with bias and ReLU.
struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    /// The bias and the activation, which sconce-kernels fuses into the convolution.
    epilogue: Epilogue,
    /// The packed weight, kept between calls.
    packed: PackedCache,
}

impl Conv {
    fn new(in_channels: usize, out_channels: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(
            (out_channels, in_channels, 3, 3),
            "weight",
            candle_nn::init::DEFAULT_KAIMING_NORMAL,
        )?;
        let bias = vb.get_with_hints(out_channels, "bias", candle_nn::Init::Uniform { lo: -0.1, up: 0.1 })?;
        // Detach both, so that no gradients are tracked: this program computes only outputs.
        let (weight, bias) = (weight.detach(), bias.detach());
        let epilogue = Epilogue::new().with_bias(&bias).with_activation(Activation::Relu);
        Ok(Self { weight, bias, stride, epilogue, packed: PackedCache::default() })
    }

    /// Runs three operations. Each operation reads and writes the whole activation.
    fn with_candle(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.conv2d(&self.weight, 1, self.stride, 1, 1)?;
        y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)?.relu()
    }

    /// Runs the same operations in one kernel.
    fn with_kernels(&self, x: &Tensor) -> Result<Tensor> {
        let geometry = ConvGeometry::new().with_stride(self.stride).with_padding(1);
        conv2d(x, &self.weight, &geometry, &self.epilogue, Some(&self.packed))
    }
}

/// Convolutions, global average pooling and a linear layer.
struct Network {
    convolutions: Vec<Conv>,
    classifier: Linear,
}

impl Network {
    fn new(vb: VarBuilder) -> Result<Self> {
        let in_channels = [3].into_iter().chain(CHANNELS);
        let convolutions = in_channels.zip(CHANNELS).enumerate().map(|(i, (in_channels, out_channels))| {
            Conv::new(in_channels, out_channels, 1 + i % 2, vb.pp(format!("conv{i}")))
        });
        let classifier = candle_nn::linear(CHANNELS[CHANNELS.len() - 1], CLASSES, vb.pp("classifier"))?;
        Ok(Self { convolutions: convolutions.collect::<Result<_>>()?, classifier })
    }

    /// Returns the scores of the classes, `[batch, CLASSES]`. `run_conv` computes each convolution.
    fn forward(&self, x: &Tensor, run_conv: impl Fn(&Conv, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let features = self.convolutions.iter().try_fold(x.clone(), |x, conv| run_conv(conv, &x))?;
        let pooled = features.mean((D::Minus2, D::Minus1))?;
        self.classifier.forward(&pooled)
    }
}

struct Arguments {
    batch: usize,
    short: bool,
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let Arguments { batch, short } = arguments::parse(HELP, parse);
    let device = Device::Cpu;
    let variables = VarMap::new();
    let network = Network::new(VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    let x = Tensor::randn(0f32, 1., (batch, 3, SIZE, SIZE), &device)?;
    let with_candle = || network.forward(&x, Conv::with_candle);
    let with_kernels = || network.forward(&x, Conv::with_kernels);

    let max_abs = |x: Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
    let scores = with_candle()?;
    let difference = max_abs((&scores - with_kernels()?)?)? / max_abs(scores)?;
    let budget = Duration::from_millis(if short { 0 } else { 2000 });
    let [candle, kernels] = median_times([&with_candle, &with_kernels], budget)?;
    println!("{} convolutions on {batch} images of {SIZE}×{SIZE}, median times", CHANNELS.len());
    println!("candle:          {:8.2} ms", candle.as_secs_f64() * 1e3);
    println!("sconce-kernels:  {:8.2} ms", kernels.as_secs_f64() * 1e3);
    println!("largest relative difference of the scores: {difference:.1e}");
    if difference.is_nan() || difference > TOLERANCE {
        return Err(
            format!("expected a difference of at most {TOLERANCE:.0e}, found {difference:.1e}").into()
        );
    }
    Ok(())
}

/// Returns the median times of two functions. Calls them alternately until the budget is spent, and at least three
/// times each.
fn median_times(calls: [&dyn Fn() -> Result<Tensor>; 2], budget: Duration) -> Result<[Duration; 2]> {
    let mut times = [const { Vec::new() }; 2];
    let start = Instant::now();
    while times[1].len() < 3 || start.elapsed() < budget {
        for (call, times) in calls.iter().zip(&mut times) {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed());
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    }))
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments { batch: 1, short: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("batch") => arguments.batch = parser.value()?.parse()?,
            Long("short") => arguments.short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}
