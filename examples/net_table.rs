//! Times inference and training steps of whole networks. Prints comma-separated values.

#[allow(dead_code)] // This example uses only some of the networks, and not `main`.
#[path = "networks/main.rs"]
mod networks;
#[path = "common/timer.rs"]
mod timer;

use std::time::Duration;

use lexopt::prelude::*;
use sconce::prelude::*;

use networks::arguments::{self, list, number};
use networks::{
    bert, convnext, deeplab, densenet, efficientnet, googlenet, gpt, mobilenet, mobilenet_v3, resnet,
    squeezenet, swin, unet, vgg, vit,
};
use timer::{Timer, Times};

const HELP: &str = "\
Times inference with packed weights, and training steps (forward, backward and AdamW). Prints the median and the
minimum of many calls in milliseconds. For inference, also prints the launches of a forward pass, how many of them
only change the layout of an activation, and the peak memory (MiB) of channel-blocked activations.

usage: cargo run --release --example net_table -- [OPTIONS]

--nets A,B     the networks to time (default: the first six of these): intro, lenet, resnet18, resnet50, vgg16_bn,
               mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, efficientnet_b0, efficientnet_v2_s,
               convnext_tiny, densenet121, googlenet, squeezenet1_1, vit_b_16, vit_s_16, swin_t, unet,
               deeplabv3_resnet50, bert_base_uncased (128 tokens), gpt2 (128 tokens), lstm (100 steps)
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

/// Classifies sequences `[batch, steps, 256]` by the output after the last step.
#[derive(Module)]
#[module(forward = |x| {
    let last = x.dim(1)? - 1;
    let (y, _) = lstm(x);
    head(y.narrow(1, last, 1).squeeze(1))
})]
struct LstmClassifier {
    #[layer(256, 512, num_layers = 2, batch_first = true)]
    lstm: LSTM,
    #[layer(512, 10)]
    head: Linear,
}

/// GoogLeNet with a single output, without auxiliary classifiers.
#[derive(Module)]
#[module(forward = |x| {
    let (logits, _, _) = network(x);
    logits
})]
struct PlainGoogLeNet {
    #[layer(aux_logits = false)]
    network: googlenet::GoogLeNet,
}

/// DeepLabV3 with a single output, without auxiliary classifier.
#[derive(Module)]
#[module(forward = |x| {
    let (logits, _) = network(x);
    logits
})]
struct PlainDeepLab {
    network: deeplab::DeepLabV3,
}

/// BERT with one input and one output: token ids, and features of the whole sequence.
#[derive(Module)]
#[module(forward = |ids| {
    let (_, pooled) = network(ids, None, None);
    pooled
})]
struct PlainBert {
    network: bert::Bert,
}

fn main() -> Result<()> {
    let Arguments { nets, batches, train, short } = arguments::parse(HELP, parse);
    let timer =
        Timer { budget: Duration::from_secs(2), min_calls: 3, max_calls: if short { 3 } else { 300 } };
    println!("net,batch,median,min,launches,layout changes,activations");
    for batch in batches {
        for name in &nets {
            println!("{name},{batch},{}", measure(name, Inference { batch, timer })?);
        }
    }
    println!("train step,batch,median,min");
    for (name, batch) in &train {
        println!("{name},{batch},{}", measure(name, Training { batch: *batch, timer })?);
    }
    Ok(())
}

/// The input of a network.
#[derive(Clone, Copy)]
enum Input {
    /// Random images, `[batch, channels, side, side]`.
    Images { channels: usize, side: usize },
    /// Random indices of words, `[batch, length]`.
    Words { vocabulary: usize, length: usize },
    /// Random sequences, `[batch, steps, features]`.
    Sequences { steps: usize, features: usize },
}

impl Input {
    const DIGITS: Self = Self::Images { channels: 1, side: 28 };
    const IMAGES: Self = Self::Images { channels: 3, side: 224 };

    fn random(self, batch: usize) -> Result<Tensor> {
        let device = &Device::Cpu;
        Ok(match self {
            Self::Images { channels, side } => {
                Tensor::randn(0f32, 1., (batch, channels, side, side), device)?
            }
            Self::Words { vocabulary, length } => {
                Tensor::rand(0f32, vocabulary as f32, (batch, length), device)?.to_dtype(DType::U32)?
            }
            Self::Sequences { steps, features } => Tensor::randn(0f32, 1., (batch, steps, features), device)?,
        })
    }
}

/// A measurement that can run on any network.
trait Measurement {
    /// Times a network and returns the columns of its row.
    fn time<C: Config<Output: Layer>>(&self, config: C, input: Input) -> Result<String>;
}

fn measure(name: &str, measurement: impl Measurement) -> Result<String> {
    match name {
        // Older tables name the introductory network `seed`.
        "intro" | "seed" => measurement.time(IntroNetwork::config(), Input::DIGITS),
        "lenet" => measurement.time(LeNet::config(), Input::DIGITS),
        "resnet18" => measurement.time(resnet::resnet18(), Input::IMAGES),
        "resnet50" => measurement.time(resnet::resnet50(), Input::IMAGES),
        "vgg16_bn" => measurement.time(vgg::vgg16_bn(), Input::IMAGES),
        "mobilenet_v2" => measurement.time(mobilenet::mobilenet_v2(), Input::IMAGES),
        "mobilenet_v3_large" => measurement.time(mobilenet_v3::mobilenet_v3_large(), Input::IMAGES),
        "mobilenet_v3_small" => measurement.time(mobilenet_v3::mobilenet_v3_small(), Input::IMAGES),
        "efficientnet_b0" => measurement.time(efficientnet::efficientnet_b0(), Input::IMAGES),
        "efficientnet_v2_s" => measurement.time(efficientnet::efficientnet_v2_s(), Input::IMAGES),
        "convnext_tiny" => measurement.time(convnext::convnext_tiny(), Input::IMAGES),
        "densenet121" => measurement.time(densenet::densenet121(), Input::IMAGES),
        "googlenet" => measurement.time(PlainGoogLeNet::config(), Input::IMAGES),
        "squeezenet1_1" => measurement.time(squeezenet::squeezenet1_1(), Input::IMAGES),
        "vit_b_16" => measurement.time(vit::vit_b_16(), Input::IMAGES),
        "vit_s_16" => measurement.time(vit::vit_s_16(), Input::IMAGES),
        "swin_t" => measurement.time(swin::swin_t(), Input::IMAGES),
        "unet" => measurement.time(unet::unet(3, 2), Input::IMAGES),
        "deeplabv3_resnet50" => measurement.time(PlainDeepLab::config(), Input::IMAGES),
        "bert_base_uncased" => {
            measurement.time(PlainBert::config(), Input::Words { vocabulary: 30522, length: 128 })
        }
        "gpt2" => measurement.time(gpt::gpt2(), Input::Words { vocabulary: 50257, length: 128 }),
        "lstm" => measurement.time(LstmClassifier::config(), Input::Sequences { steps: 100, features: 256 }),
        _ => Err(Error::msg(format!("unknown network {name:?}; see --help"))),
    }
}

struct Inference {
    batch: usize,
    timer: Timer,
}

impl Measurement for Inference {
    fn time<C: Config<Output: Layer>>(&self, config: C, input: Input) -> Result<String> {
        let network = config.init(&Device::Cpu)?.inference()?;
        let x = input.random(self.batch)?;
        let call = || network.call((&x).into(), Mode::Eval).into_tensor();
        let times = self.timer.times(|| call().map(drop))?;
        let (result, launches) = sconce::trace(call);
        result?;
        let changes = launches.iter().filter(|launch| launch.changes_layout()).count();
        let memory = sconce::activation_memory().peak as f64 / (1 << 20) as f64;
        Ok(format!("{},{},{changes},{memory:.2}", columns(times), launches.len()))
    }
}

struct Training {
    batch: usize,
    timer: Timer,
}

impl Measurement for Training {
    fn time<C: Config<Output: Layer>>(&self, config: C, input: Input) -> Result<String> {
        let network = config.init(&Device::Cpu)?;
        let mut optimizer = AdamW::new(1e-3).build(network.trainable_parameters())?;
        let x = input.random(self.batch)?;
        // Use labels of all ten classes. With a single class, the loss would soon reach 0, and the gradients would
        // become denormal, which changes the speed of the arithmetic.
        let y = Tensor::from_iter((0..self.batch as u32).map(|image| image % 10), &Device::Cpu)?;
        let times = self.timer.times(|| {
            let output = network.call((&x).into(), Mode::Train).into_tensor()?;
            optimizer.step(&sconce::backward(&cross_entropy(&output, &y)?)?)
        })?;
        Ok(columns(times))
    }
}

/// Formats the median and the minimum, separated by a comma.
fn columns(times: Times) -> String {
    format!("{:.4},{:.4}", times.median, times.min)
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
