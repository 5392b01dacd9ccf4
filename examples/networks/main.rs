//! Published networks with the parameter names of their published checkpoints, one network per file of this directory.
//!
//! `cargo run --release --example networks -- mobilenet_v2` prints the network's size and times it. If a checkpoint is
//! passed, the network is loaded from it.
//!
//! | network | lines here | lines in PyTorch | lines in candle-transformers |
//! |---|---|---|---|
//! | BERT | 89 | 344 (transformers) | |
//! | ConvNeXt-Tiny | 65 | 145 | |
//! | DeepLabV3 | 59 | 150 | |
//! | DenseNet-121 | 75 | 155 | |
//! | EfficientNet-B0 and EfficientNetV2-S | 89 | 315 | |
//! | GoogLeNet | 110 | 206 | |
//! | GPT-2, with a cache for decoding | 95 | | 255 (`bigcode.rs`: the same blocks) |
//! | MobileNetV2 | 81 | 122 | |
//! | MobileNetV3 Large and Small | 87 | 221 | |
//! | R(2+1)D-18 | 45 | 150 | |
//! | ResNet-18 and -50, with dilation | 90 | 215 | 200 (`resnet.rs`), without dilation |
//! | SqueezeNet 1.1 | 50 | 87 | |
//! | Swin-T | 132 | 315 | |
//! | U-Net | 64 | | |
//! | VGG-16 | 41, with batch norm | 68 | 154 (`vgg.rs`), without batch norm |
//! | ViT | 69 | 244 | 337 (`vit.rs`) |
//! | `inverted_residual.rs`, which MobileNetV3 and the EfficientNets share | 83 | 103 (`torchvision/ops/misc.py`) | |
//!
//! The counts exclude blank lines, comments, `gpt::generate` with its types, the function `vit::vit_s_16`, and the
//! functions of candle-transformers 0.11.0 that only other sizes of the network use. In PyTorch (torchvision 0.29 and
//! transformers 5.24), only the classes and functions count that build and run these sizes of the network, without
//! docstrings, imports, decorators, and the tables and classes that describe weights. Of `misc.py`, only
//! `ConvNormActivation`, `Conv2dNormActivation` and `SqueezeExcitation` count. BERT's do not include the creation of
//! masks and the access to embeddings.

#[path = "../common/arguments.rs"]
pub mod arguments;
pub mod bert;
pub mod convnext;
pub mod deeplab;
pub mod densenet;
pub mod efficientnet;
pub mod googlenet;
pub mod gpt;
pub mod inverted_residual;
pub mod mobilenet;
pub mod mobilenet_v3;
pub mod r2plus1d;
pub mod resnet;
pub mod squeezenet;
pub mod swin;
pub mod unet;
pub mod vgg;
pub mod vit;

use std::path::{Path, PathBuf};
use std::time::Instant;

use lexopt::prelude::*;
use sconce::prelude::*;

const HELP: &str = "\
Builds the network NAME (default: all networks), runs it on one random image (BERT and GPT-2: on 64 tokens, which GPT-2
then continues; R(2+1)D: on 8 frames) and times it.

usage: cargo run --release --example networks -- [--short] [NAME] [CHECKPOINT]

CHECKPOINT: the published .pth file, or a .safetensors file with the same names
--short:    smaller images and one timed call, to check that the program runs
NAME:       one of these networks:";

/// Builds and times a network with these settings. The methods accept the config of any network.
struct Runner<'a> {
    name: &'a str,
    checkpoint: Option<&'a Path>,
    short: bool,
    device: Device,
}

impl Runner<'_> {
    /// Builds a network from the checkpoint, or with random parameters if there is none.
    fn build<C: Config>(&self, config: C) -> Result<C::Output> {
        match self.checkpoint {
            Some(path) => config.load(path, &self.device),
            None => config.init(&self.device),
        }
    }

    /// Returns the height and the width of images.
    fn side(&self) -> usize {
        if self.short { 64 } else { 224 }
    }

    /// Returns a random tensor.
    fn random(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::randn(0f32, 1., shape, &self.device)?)
    }

    /// Returns 64 token ids, `[1, 64]`.
    fn ids(&self) -> Result<Tensor> {
        Ok(Tensor::arange(0u32, 64, &self.device)?.unsqueeze(0)?)
    }

    /// Runs a network on an image `[1, 3, side, side]`.
    fn image<C: Config>(
        &self,
        config: C,
        forward: impl Fn(&C::Output, Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        self.time(config, self.random(&[1, 3, self.side(), self.side()])?, forward)
    }

    /// Runs a network on `x`, and prints its size and its median time.
    fn time<C: Config>(
        &self,
        config: C,
        x: Tensor,
        forward: impl Fn(&C::Output, Tensor) -> Result<Tensor>,
    ) -> Result<()> {
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

    /// Generates tokens after a prompt of 64 tokens with GPT-2, with a cache and without, and prints the median times
    /// per token.
    fn generation(&self) -> Result<()> {
        let network = self.build(gpt::gpt2())?.detached();
        let prompt = self.ids()?;
        let mut decoder = gpt::Decoder::new(&network);
        let mut ids = prompt.clone();
        let mut new = prompt;
        let mut milliseconds = [vec![], vec![]];
        for step in 0..if self.short { 2 } else { 33 } {
            let start = Instant::now();
            let logits = decoder.next_logits(&new)?;
            let cached = start.elapsed();
            let start = Instant::now();
            gpt::Decoder::new(&network).next_logits(&ids)?;
            // The first step reads the prompt.
            if step > 0 {
                milliseconds[0].push(1e3 * cached.as_secs_f64());
                milliseconds[1].push(1e3 * start.elapsed().as_secs_f64());
            }
            new = logits.argmax_keepdim(1)?;
            ids = Tensor::cat(&[&ids, &new], 1)?;
        }
        let [cached, whole] = milliseconds.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!("  {cached:.1} ms per token with a cache, {whole:.1} ms without");
        Ok(())
    }
}

/// Builds and runs a network.
type Run = fn(&Runner) -> Result<()>;

/// The networks by name.
const NETWORKS: [(&str, Run); 20] = [
    ("bert_base_uncased", |runner| {
        let forward = |network: &bert::Bert, ids| Ok(network.forward(ids, None, None)?.0);
        runner.time(bert::bert_base_uncased(), runner.ids()?, forward)
    }),
    ("convnext_tiny", |runner| runner.image(convnext::convnext_tiny(), |network, x| network.forward(x))),
    ("deeplabv3_resnet50", |runner| {
        runner.image(deeplab::deeplabv3_resnet50(), |network, x| Ok(network.forward(x)?.0))
    }),
    ("densenet121", |runner| runner.image(densenet::densenet121(), |network, x| network.forward(x))),
    ("efficientnet_b0", |runner| {
        runner.image(efficientnet::efficientnet_b0(), |network, x| network.forward(x))
    }),
    ("efficientnet_v2_s", |runner| {
        runner.image(efficientnet::efficientnet_v2_s(), |network, x| network.forward(x))
    }),
    ("googlenet", |runner| runner.image(googlenet::googlenet(), |network, x| Ok(network.forward(x)?.0))),
    ("gpt2", |runner| {
        runner.time(gpt::gpt2(), runner.ids()?, |network, ids| network.forward(ids))?;
        runner.generation()
    }),
    ("mobilenet_v2", |runner| runner.image(mobilenet::mobilenet_v2(), |network, x| network.forward(x))),
    ("mobilenet_v3_large", |runner| {
        runner.image(mobilenet_v3::mobilenet_v3_large(), |network, x| network.forward(x))
    }),
    ("mobilenet_v3_small", |runner| {
        runner.image(mobilenet_v3::mobilenet_v3_small(), |network, x| network.forward(x))
    }),
    ("r2plus1d_18", |runner| {
        let frames = runner.random(&[1, 3, 8, runner.side(), runner.side()])?;
        runner.time(r2plus1d::r2plus1d_18(), frames, |network, x| network.forward(x))
    }),
    ("resnet18", |runner| runner.image(resnet::resnet18(), |network, x| network.forward(x))),
    ("resnet50", |runner| runner.image(resnet::resnet50(), |network, x| network.forward(x))),
    ("squeezenet1_1", |runner| runner.image(squeezenet::squeezenet1_1(), |network, x| network.forward(x))),
    ("swin_t", |runner| runner.image(swin::swin_t(), |network, x| network.forward(x))),
    ("unet", |runner| runner.image(unet::unet(3, 2), |network, x| network.forward(x))),
    ("vgg16_bn", |runner| runner.image(vgg::vgg16_bn(), |network, x| network.forward(x))),
    ("vit_b_16", |runner| {
        // The network has position embeddings for this size only.
        let image = runner.random(&[1, 3, 224, 224])?;
        runner.time(vit::vit_b_16(), image, |network, x| network.forward(x))
    }),
    ("vit_s_16", |runner| {
        // The network has position embeddings for this size only.
        let image = runner.random(&[1, 3, 224, 224])?;
        runner.time(vit::vit_s_16(), image, |network, x| network.forward(x))
    }),
];

struct Arguments {
    name: Option<String>,
    checkpoint: Option<PathBuf>,
    short: bool,
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments { name: None, checkpoint: None, short: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("short") => arguments.short = true,
            Value(name) if arguments.name.is_none() => {
                let name = name.string()?;
                if NETWORKS.iter().all(|(known, _)| *known != name) {
                    return Err(format!("unknown network {name:?}").into());
                }
                arguments.name = Some(name);
            }
            Value(path) if arguments.checkpoint.is_none() => arguments.checkpoint = Some(path.into()),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn main() -> Result<()> {
    let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
    let help = format!("{HELP}\n  {}", names.join("\n  "));
    let Arguments { name, checkpoint, short } = arguments::parse(&help, parse);
    let checkpoint = checkpoint.as_deref();
    let device = Device::cuda_if_available(0)?;
    for (candidate, run) in NETWORKS {
        if name.as_deref().is_none_or(|name| name == candidate) {
            run(&Runner { name: candidate, checkpoint, short, device: device.clone() })?;
        }
    }
    Ok(())
}
