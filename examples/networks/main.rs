//! Published networks with the parameter names of their published checkpoints, each a file of this folder.
//!
//! `cargo run --release --example networks -- mobilenet_v2` prints the network, times it and, given a
//! checkpoint, reads that.

pub mod densenet;
pub mod googlenet;
pub mod gpt;
pub mod mobilenet;
pub mod resnet;
pub mod squeezenet;
pub mod unet;
pub mod vgg;
pub mod vit;

use std::path::Path;
use std::time::Instant;

use sconce::prelude::*;

const USAGE: &str = "usage: networks [--short] [NAME] [CHECKPOINT]

Prints a network (all of them without NAME), runs it on one image of noise and times it. A checkpoint is
torchvision's .pth, or .safetensors with the same names.

names: densenet121 googlenet mobilenet_v2 resnet18 resnet50 squeezenet1_1 vgg16_bn";

/// What the program does with a network, whatever its type.
struct Report<'a> {
    name: &'a str,
    checkpoint: Option<&'a Path>,
    short: bool,
    device: Device,
}

impl Report<'_> {
    fn build<C: Config>(&self, config: C) -> Result<C::Output> {
        match self.checkpoint {
            Some(path) => config.load(path, &self.device),
            None => config.init(&self.device),
        }
    }

    /// Runs a network on images `[1, 3, 224, 224]`.
    fn images<C: Config>(
        &self,
        config: C,
        forward: impl Fn(&C::Output, Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let side = if self.short { 64 } else { 224 };
        let x = Tensor::randn(0f32, 1., (1, 3, side, side), &self.device)?;
        let network = self.build(config)?.inference()?;
        let (y, launches) = sconce::trace(|| forward(&network, x.clone()));
        let (parameters, launches) = (network.num_parameters(), launches.len());
        println!("{}: {parameters} parameters, {launches} launches, {:?}", self.name, y?.dims());
        let mut seconds = Vec::new();
        for _ in 0..if self.short { 1 } else { 10 } {
            let start = Instant::now();
            forward(&network, x.clone())?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        println!("  {:.1} ms, median of {}", 1e3 * seconds[seconds.len() / 2], seconds.len());
        Ok(())
    }
}

const NAMES: [&str; 7] =
    ["densenet121", "googlenet", "mobilenet_v2", "resnet18", "resnet50", "squeezenet1_1", "vgg16_bn"];

/// A published network by its name in torchvision.
fn run(report: &Report) -> Result<()> {
    match report.name {
        "densenet121" => report.images(densenet::densenet121(), |network, x| network.forward(x)),
        "googlenet" => report.images(googlenet::googlenet(), |network, x| Ok(network.forward(x)?.0)),
        "mobilenet_v2" => report.images(mobilenet::mobilenet_v2(), |network, x| network.forward(x)),
        "resnet18" => report.images(resnet::resnet18(), |network, x| network.forward(x)),
        "resnet50" => report.images(resnet::resnet50(), |network, x| network.forward(x)),
        "squeezenet1_1" => report.images(squeezenet::squeezenet1_1(), |network, x| network.forward(x)),
        "vgg16_bn" => report.images(vgg::vgg16_bn(), |network, x| network.forward(x)),
        other => Err(Error::msg(format!("no network {other:?}\n\n{USAGE}"))),
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let short = arguments.iter().any(|argument| argument == "--short");
    let mut words = arguments.iter().filter(|argument| !argument.starts_with('-'));
    let (name, checkpoint) = (words.next(), words.next().map(Path::new));
    let device = Device::cuda_if_available(0)?;
    let all = NAMES.map(String::from);
    for name in name.map_or(&all[..], std::slice::from_ref) {
        run(&Report { name, checkpoint, short, device: device.clone() })?;
    }
    Ok(())
}
