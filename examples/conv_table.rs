//! Times convolution + bias + ReLU for a table of layers: fused in one kernel, and as three candle operations.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/timer.rs"]
mod timer;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use sconce::candle::{Device, Result, Tensor};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};

use timer::Timer;

const HELP: &str = "\
Times conv + bias + ReLU, fused and as candle's conv2d, broadcast_add and relu.

usage: cargo run --release --example conv_table -- [TABLE] [--threads N] [--csv FILE] [--short]

TABLE: a file with one layer per line, as
       name batch in_channels height width out_channels kernel stride padding dilation groups;
       # starts a comment (default: a few layers of well-known networks)
--threads N: number of threads for the fused and the unfused calls (default: the number of cores)
--csv FILE: also write each layer's name, GFLOP count and both median times (ms) to FILE
--short: time only five fused and five unfused calls per layer, to check that the program runs";

const LAYERS: &str = "\
intro_conv1     64   1  28  28  20 5 1 0 1   1
intro_conv2     64  20  24  24  20 5 1 0 1   1
vgg_1_2          1  64 224 224  64 3 1 1 1   1
resnet_stem      1   3 224 224  64 7 2 3 1   1
resnet_2_1x1     1  64  56  56 256 1 1 0 1   1
resnet_3_stride  1 128  56  56 128 3 2 1 1   1
mobilenet_14     1 512  14  14 512 3 1 1 1 512";

struct Layer {
    name: String,
    /// `[batch, in_channels, height, width]`
    input: [usize; 4],
    /// `[out_channels, in_channels / groups, kernel, kernel]`
    weight: [usize; 4],
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

struct Arguments {
    table: String,
    threads: Option<usize>,
    csv: Option<PathBuf>,
    short: bool,
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments::parse(HELP, parse);
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let budget = Duration::from_millis(if arguments.short { 0 } else { 700 });
    let timer = Timer { budget, min_calls: 5, max_calls: 300 };
    let mut csv = String::from("name,gflop,fused_ms,unfused_ms\n");
    println!(
        "{:<20}{:>10}{:>12}{:>12}{:>8}{:>10}",
        "layer", "GFLOP", "fused ms", "candle ms", "ratio", "GFLOP/s"
    );
    for layer in layers(&arguments.table)? {
        let (fused, unfused) = layer.times(timer)?;
        let gflop = layer.gflop();
        println!(
            "{:<20}{gflop:>10.4}{fused:>12.4}{unfused:>12.4}{:>8.1}{:>10.1}",
            layer.name,
            unfused / fused,
            gflop / fused * 1e3
        );
        writeln!(csv, "{},{gflop:.4},{fused:.4},{unfused:.4}", layer.name)?;
    }
    if let Some(path) = arguments.csv {
        std::fs::write(path, csv)?;
    }
    Ok(())
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments { table: LAYERS.into(), threads: None, csv: None, short: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("threads") => arguments.threads = Some(parser.value()?.parse()?),
            Long("csv") => arguments.csv = Some(parser.value()?.into()),
            Long("short") => arguments.short = true,
            Value(path) => {
                let path = PathBuf::from(path);
                arguments.table =
                    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

/// Parses a table of layers.
fn layers(table: &str) -> std::result::Result<Vec<Layer>, String> {
    let lines = table.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            Layer::parse(line)
                .ok_or_else(|| format!("expected a layer as described in --help, found {line:?}"))
        })
        .collect()
}

impl Layer {
    fn parse(line: &str) -> Option<Self> {
        let (name, numbers) = line.split_once(char::is_whitespace)?;
        let numbers = numbers.split_whitespace().map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>()?;
        let &[batch, in_channels, height, width, out_channels, kernel, stride, padding, dilation, groups] =
            &numbers[..]
        else {
            return None;
        };
        let weight = [out_channels, in_channels.checked_div(groups)?, kernel, kernel];
        Some(Self {
            name: name.into(),
            input: [batch, in_channels, height, width],
            weight,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        })
    }

    fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.padding; 2]; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    /// Returns the number of floating-point operations of a call, in billions.
    fn gflop(&self) -> f64 {
        let [batch, _, height, width] = self.input;
        let output = self.geometry().output_size([height, width], [self.kernel; 2]).unwrap_or([0; 2]);
        let pixels = output[0] * output[1];
        2e-9 * (batch * pixels * self.weight.iter().product::<usize>()) as f64
    }

    /// Returns the median times of the fused and the unfused calls, in milliseconds.
    fn times(&self, timer: Timer) -> Result<(f64, f64)> {
        let device = Device::Cpu;
        let input = Tensor::randn(0f32, 1., &self.input, &device)?;
        let weight = Tensor::randn(0f32, 0.1, &self.weight, &device)?;
        let bias = Tensor::randn(0f32, 1., self.weight[0], &device)?;
        let (geometry, packed) = (self.geometry(), PackedCache::default());
        let epilogue =
            Epilogue { shift: Some(bias.clone()), activation: Activation::Relu, ..Default::default() };
        let bias = bias.reshape((1, (), 1, 1))?;
        let fused = || conv2d(&input, &weight, &geometry, &epilogue, Some(&packed));
        let unfused = || {
            let sums = input.conv2d(&weight, self.padding, self.stride, self.dilation, self.groups)?;
            sums.broadcast_add(&bias)?.relu()
        };
        Ok((timer.times(|| fused().map(drop))?.median, timer.times(|| unfused().map(drop))?.median))
    }
}
