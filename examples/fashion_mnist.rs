//! Trains a small convolutional network on Fashion-MNIST, saves it, and checks that the reloaded network has the same
//! loss and accuracy.

#[path = "common/arguments.rs"]
mod arguments;

use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use sconce::prelude::*;
use sconce::train::data::read_idx;

const HELP: &str = "\
Trains on 8,000 images of Fashion-MNIST and tests on 2,000 further images.

usage: cargo run --release --example fashion_mnist -- [OPTIONS]

--epochs N   passes over the training images (default: 5)
--seed N     random seed for the initial parameters, the order of the images and the dropout (default: 0)
--out FILE   where to save the network (default: fashion_mnist.safetensors in the system's temporary directory)
--short      one epoch of 512 images, to check that the program runs";

#[derive(Module)]
#[module(
    loss = cross_entropy,
    optimizer = AdamW::new(2e-3),
    forward = |x| {
        let x = max_pool2d(relu(bn1(conv1(x))), 2);
        let x = max_pool2d(relu(bn2(conv2(x))), 2);
        fc2(dropout(relu(fc1(flatten(x, 1)))))
    },
)]
struct FashionNet {
    #[layer(1, 16, 5, padding = 2)]
    conv1: Conv2d,
    #[layer(16)]
    bn1: BatchNorm,
    #[layer(16, 32, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(32)]
    bn2: BatchNorm,
    #[layer(32 * 7 * 7, 128)]
    fc1: Linear,
    #[layer(0.25)]
    dropout: Dropout,
    #[layer(128, 10)]
    fc2: Linear,
}

fn main() -> Result<()> {
    let Arguments { epochs, seed, out, short } = arguments::parse(HELP, parse);
    let device = Device::Cpu;
    manual_seed(seed);

    let (train, test) = if short { (512, 256) } else { (8_000, 2_000) };
    let (images, labels) = fashion_mnist(&device)?;
    let train = TensorDataset::new(images.narrow(0, 0, train)?, labels.narrow(0, 0, train)?)?.shuffle(true);
    let test = TensorDataset::new(images.narrow(0, 8_000, test)?, labels.narrow(0, 8_000, test)?)?;

    let model = FashionNet::new(&device)?;
    println!("{model}\n{} parameters", model.num_parameters());
    let history = model.fit(&train, &test, Epochs(epochs))?;
    println!("{history}");
    // `fit` has called `audit_gradients` in the first step. `unreached` returns the parameters without a gradient.
    match history.unreached() {
        [] => println!("every parameter got a gradient in the first step"),
        unreached => println!("no gradient in the first step for {}", unreached.join(", ")),
    }

    model.save(&out)?;
    let reloaded = FashionNet::config().load(&out, &device)?;
    let (before, after) = (model.evaluate(&test)?, reloaded.evaluate(&test)?);
    println!("saved to {}; after reloading: {after}", out.display());
    if before != after {
        return Err(Error::msg(format!("expected {before} after reloading, found {after}")));
    }
    Ok(())
}

/// Returns the normalized images `[10000, 1, 28, 28]` and their classes `[10000]`.
fn fashion_mnist(device: &Device) -> Result<(Tensor, Tensor)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = read_idx(directory.join("t10k-images-idx3-ubyte.gz"))?.to_device(device)?;
    let labels = read_idx(directory.join("t10k-labels-idx1-ubyte.gz"))?.to_device(device)?;
    let (mean, std) = (0.286, 0.353);
    let images = images.unsqueeze(1)?.to_dtype(DType::F32)?.affine(1. / (255. * std), -mean / std)?;
    Ok((images, labels))
}

struct Arguments {
    epochs: usize,
    seed: u64,
    out: PathBuf,
    short: bool,
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let out = std::env::temp_dir().join("fashion_mnist.safetensors");
    let mut arguments = Arguments { epochs: 5, seed: 0, out, short: false };
    let mut epochs = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("epochs") => epochs = Some(parser.value()?.parse()?),
            Long("seed") => arguments.seed = parser.value()?.parse()?,
            Long("out") => arguments.out = parser.value()?.into(),
            Long("short") => arguments.short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    arguments.epochs = epochs.unwrap_or(if arguments.short { 1 } else { 5 });
    Ok(arguments)
}
