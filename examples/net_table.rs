//! Times inference and training steps of whole networks. Prints comma-separated values.

#[allow(dead_code)] // Only some of these networks are used, and `main` is not.
#[path = "networks/main.rs"]
mod networks;

use std::time::{Duration, Instant};

use lexopt::prelude::*;
use sconce::prelude::*;

use networks::arguments::{self, list, number};
use networks::{mobilenet, resnet, vgg};

const HELP: &str = "\
Times inference with packed weights, and training steps (forward, backward and AdamW). Prints the median and the
minimum of many calls in milliseconds. For inference, also prints the launches of a forward pass, how many of them
only change the layout of an activation, and the peak memory (MiB) of channel-blocked activations.

usage: cargo run --release --example net_table -- [OPTIONS]

--nets A,B     some of intro, lenet, resnet18, resnet50, vgg16_bn, mobilenet_v2 (default: all)
--batch N,…    batch sizes (default: 1,16)
--train A:N,…  the networks to train, each with its batch size (default: lenet:64,resnet18:8)
--short        only lenet, with three timed calls of inference and of a training step, to check that the program
               runs";

/// The introductory network of examples/first_network.rs.
#[derive(Module)]
#[module(forward = |x| relu(conv2(relu(conv1(x)))))]
struct IntroNetwork {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
}

#[derive(Module)]
#[module(forward = |x| {
    let x = max_pool2d(relu(conv1(x)), 2);
    let x = max_pool2d(relu(conv2(x)), 2);
    fc2(relu(fc1(flatten(x, 1))))
})]
struct LeNet {
    #[layer(1, 32, 5)]
    conv1: Conv2d,
    #[layer(32, 64, 5)]
    conv2: Conv2d,
    #[layer(1024, 256)]
    fc1: Linear,
    #[layer(256, 10)]
    fc2: Linear,
}

fn main() -> Result<()> {
    let Arguments { nets, batches, train, short } = arguments::parse(HELP, parse);
    let timer =
        Timer { budget: Duration::from_secs(2), min_calls: 3, max_calls: if short { 3 } else { 300 } };
    println!("net,batch,median,min,launches,layout changes,activations");
    for batch in batches {
        for name in &nets {
            println!("{name},{batch},{}", with_network(name, Inference { batch, timer })?);
        }
    }
    sconce::train::keep_memory();
    println!("train step,batch,median,min");
    for (name, batch) in &train {
        println!("{name},{batch},{}", with_network(name, Training { batch: *batch, timer })?);
    }
    Ok(())
}

/// A measurement that can run on any network.
trait Job {
    /// Times a network with inputs `[batch, channels, side, side]` and returns the columns of its row.
    fn time<C: Config<Output: Layer>>(&self, config: C, channels: usize, side: usize) -> Result<String>;
}

fn with_network(name: &str, job: impl Job) -> Result<String> {
    match name {
        // Other tables of these networks call the introductory network `seed`.
        "intro" | "seed" => job.time(IntroNetwork::config(), 1, 28),
        "lenet" => job.time(LeNet::config(), 1, 28),
        "resnet18" => job.time(resnet::resnet18(), 3, 224),
        "resnet50" => job.time(resnet::resnet50(), 3, 224),
        "vgg16_bn" => job.time(vgg::vgg16_bn(), 3, 224),
        "mobilenet_v2" => job.time(mobilenet::mobilenet_v2(), 3, 224),
        _ => Err(Error::msg(format!("unknown network {name:?}; see --help"))),
    }
}

struct Inference {
    batch: usize,
    timer: Timer,
}

impl Job for Inference {
    fn time<C: Config<Output: Layer>>(&self, config: C, channels: usize, side: usize) -> Result<String> {
        let network = config.init(&Device::Cpu)?.inference()?;
        let x = Tensor::randn(0f32, 1., (self.batch, channels, side, side), &Device::Cpu)?;
        let call = || network.call((&x).into(), Mode::Eval).into_tensor();
        let times = self.timer.times(|| call().map(drop))?;
        let (result, launches) = sconce::trace(call);
        result?;
        let changes = launches.iter().filter(|launch| launch.changes_layout()).count();
        let memory = sconce::activation_memory().peak as f64 / (1 << 20) as f64;
        Ok(format!("{times},{},{changes},{memory:.2}", launches.len()))
    }
}

struct Training {
    batch: usize,
    timer: Timer,
}

impl Job for Training {
    fn time<C: Config<Output: Layer>>(&self, config: C, channels: usize, side: usize) -> Result<String> {
        let network = config.init(&Device::Cpu)?;
        let mut optimizer = AdamW::new(1e-3).build(network.trainable_parameters())?;
        let x = Tensor::randn(0f32, 1., (self.batch, channels, side, side), &Device::Cpu)?;
        // Use labels of all ten classes. With a single class, the loss would soon reach 0, and the gradients would
        // become denormal, which changes the speed of the arithmetic.
        let y = Tensor::from_iter((0..self.batch as u32).map(|image| image % 10), &Device::Cpu)?;
        self.timer.times(|| {
            let output = network.call((&x).into(), Mode::Train).into_tensor()?;
            optimizer.step(&cross_entropy(&output, &y)?.backward()?)
        })
    }
}

/// A timer that limits the number and the total duration of the calls in a measurement.
#[derive(Clone, Copy)]
struct Timer {
    budget: Duration,
    min_calls: usize,
    max_calls: usize,
}

impl Timer {
    /// Returns the median and the minimum time of a call in milliseconds, separated by a comma.
    fn times(&self, mut call: impl FnMut() -> Result<()>) -> Result<String> {
        call()?;
        call()?;
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < self.min_calls || (start.elapsed() < self.budget && times.len() < self.max_calls)
        {
            let before = Instant::now();
            call()?;
            times.push(before.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(format!("{:.3},{:.3}", 1e3 * times[times.len() / 2], 1e3 * times[0]))
    }
}

struct Arguments {
    nets: Vec<String>,
    batches: Vec<usize>,
    train: Vec<(String, usize)>,
    short: bool,
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let nets = ["intro", "lenet", "resnet18", "resnet50", "vgg16_bn", "mobilenet_v2"];
    let mut arguments = Arguments {
        nets: nets.map(String::from).into(),
        batches: vec![1, 16],
        train: vec![("lenet".into(), 64), ("resnet18".into(), 8)],
        short: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("nets") => arguments.nets = list(parser.value()?, |name| Ok(name.to_string()))?,
            Long("batch") => arguments.batches = list(parser.value()?, number)?,
            Long("train") => arguments.train = list(parser.value()?, network_and_batch)?,
            Long("short") => {
                arguments = Arguments {
                    nets: vec!["lenet".into()],
                    batches: vec![1],
                    train: vec![("lenet".into(), 8)],
                    short: true,
                }
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn network_and_batch(word: &str) -> std::result::Result<(String, usize), lexopt::Error> {
    let (name, batch) =
        word.split_once(':').ok_or_else(|| format!("expected NETWORK:BATCH, found {word:?}"))?;
    Ok((name.into(), number(batch)?))
}
