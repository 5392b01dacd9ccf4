//! Times inference and training for each row of a table. A row is a layer or a chain of layers, written as in PyTorch.

mod arguments;
#[path = "../common/arguments.rs"]
mod command_line;
pub(crate) mod every_layer;
pub(crate) mod layers;
pub(crate) mod syntax;
#[path = "../common/timer.rs"]
mod timer;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use sconce::candle::Var;
use sconce::prelude::*;

use every_layer::EVERY_LAYER;
use syntax::Row;
use timer::Timer;

const HELP: &str = "\
Times layers and chains of layers: inference with packed weights, and training (the forward pass in training mode and
the backward pass to the input and every parameter). Prints the medians of many calls in milliseconds.

usage: cargo run --release --example op_table -- [TABLE] [--threads N] [--csv FILE] [--short]

TABLE: a file with one chain per line, as
       name | Layer(arguments) + Layer(arguments) | shape of the input
       with PyTorch's layers and arguments; # starts a comment (default: some common layers).
       benches/peers/ops.txt is such a table. MultiheadAttention is self-attention, batch first, and does not return
       the attention weights. Recurrent layers return their outputs without the states, and LSTMCell returns h. The
       input of Embedding consists of random indices.
--threads N: number of threads (default: the number of cores)
--csv FILE: also write each chain's name and both medians to FILE
--short: use a table with every layer, and time one inference and one training call per chain, to check that the
         program runs";

const COMMON: &str = "\
conv_bn_silu   | Conv2d(16, 96, 1, bias=False) + BatchNorm2d(96) + SiLU() | 1 16 112 112
depthwise      | Conv2d(240, 240, 5, padding=2, groups=240) + ReLU()      | 1 240 28 28
transposed     | ConvTranspose2d(128, 64, 2, stride=2)                    | 1 128 28 28
linear_gelu    | Linear(768, 3072) + GELU()                               | 16 768
layer_norm     | LayerNorm(768)                                           | 512 768
group_norm     | GroupNorm(32, 256)                                       | 1 256 64 64
max_pool       | MaxPool2d(3, stride=2, padding=1)                        | 1 64 112 112
softmax        | Softmax(dim=-1)                                          | 12 512 512
attention      | MultiheadAttention(768, 12)                              | 1 128 768
lstm           | LSTM(256, 512)                                           | 100 1 256";

struct Arguments {
    table: String,
    threads: Option<usize>,
    csv: Option<PathBuf>,
    short: bool,
}

fn main() -> ExitCode {
    match run(&command_line::parse(HELP, parse)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments { table: COMMON.into(), threads: None, csv: None, short: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("threads") => arguments.threads = Some(parser.value()?.parse()?),
            Long("csv") => arguments.csv = Some(parser.value()?.into()),
            Long("short") => {
                arguments.short = true;
                arguments.table = EVERY_LAYER.into();
            }
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

fn run(arguments: &Arguments) -> std::result::Result<(), Box<dyn Error>> {
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let timer = if arguments.short {
        Timer { budget: Duration::ZERO, min_calls: 1, max_calls: 1 }
    } else {
        Timer { budget: Duration::from_millis(500), min_calls: 5, max_calls: 1000 }
    };
    let rows = syntax::parse(&arguments.table)?;
    // Build every config first, so that an error in the last line is reported before the first measurement.
    let chains = rows.iter().map(Chain::new).collect::<std::result::Result<Vec<_>, String>>()?;
    let mut csv = String::from("name,inference_ms,train_ms\n");
    println!("{:<20}{:>14}{:>14}", "operation", "inference ms", "training ms");
    for chain in chains {
        let Row { line, name, .. } = *chain.row;
        let (inference, training) = chain.times(timer).map_err(|error| format!("line {line}: {error}"))?;
        println!("{name:<20}{inference:>14.4}{training:>14.4}");
        writeln!(csv, "{name},{inference:.4},{training:.4}")?;
    }
    if let Some(path) = &arguments.csv {
        std::fs::write(path, csv).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// A row of the table and the config of its layers.
struct Chain<'a> {
    row: &'a Row<'a>,
    config: SequentialConfig,
}

impl<'a> Chain<'a> {
    fn new(row: &'a Row) -> std::result::Result<Self, String> {
        Ok(Self { row, config: layers::config(row)? })
    }

    /// Returns the median times of inference and of training, in milliseconds.
    fn times(self, timer: Timer) -> Result<(f64, f64)> {
        let input = self.input()?;
        let network = self.config.init(&Device::Cpu)?;
        let inference = network.inference()?;
        let infer = || inference.call((&input).into(), Mode::Eval).into_tensor().map(drop);
        let inference = timer.times(infer)?.median;

        // Indices have no gradient.
        let is_float = input.dtype().is_float();
        let input = if is_float { Var::from_tensor(&input)?.into_inner() } else { input };
        let train = || -> Result<()> {
            let output = network.call((&input).into(), Mode::Train).into_tensor()?;
            sconce::backward(&output)?;
            Ok(())
        };
        Ok((inference, timer.times(train)?.median))
    }

    /// Returns a random input. If the first layer is an embedding, the input consists of indices.
    fn input(&self) -> Result<Tensor> {
        let shape = &self.row.shape[..];
        match layers::num_embeddings(&self.row.layers[0]).map_err(sconce::Error::msg)? {
            Some(count) => {
                let uniform = Tensor::rand(0f32, count as f32, shape, &Device::Cpu)?;
                Ok(uniform.to_dtype(DType::U32)?)
            }
            None => Ok(Tensor::randn(0f32, 1., shape, &Device::Cpu)?),
        }
    }
}
