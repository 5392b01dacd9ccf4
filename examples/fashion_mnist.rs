//! Trains a small convolutional network on Fashion-MNIST, saves it, and checks that the reloaded network has the same
//! loss and accuracy.

#[path = "common/arguments.rs"]
mod arguments;

use std::path::Path;

use lexopt::prelude::*;
use sconce::prelude::*;
use sconce::train::data::read_idx;
use sconce::train::data::transforms::{RandomCrop, RandomHorizontalFlip};

/// The mean of the pixels, on a scale from 0 to 1.
const MEAN: f32 = 0.286;
/// The standard deviation of the pixels, on the same scale.
const STD: f32 = 0.353;

const HELP: &str = "\
Trains on 8,000 images of Fashion-MNIST and tests on 2,000 further images.
usage: cargo run --release --example fashion_mnist -- [OPTIONS]

--epochs N   passes over the training images (default: 40)
--seed N     random seed of the run (default: 0)
--short      one epoch of 512 images, to check that the program runs";

#[derive(Module)]
#[module(
    loss = cross_entropy,
    optimizer = AdamW::new(4e-3).weight_decay(0.05),
    schedule = Cosine::new().warmup(5),
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
    let (epochs, seed, short) = arguments::parse(HELP, parse);
    manual_seed(seed);

    let (train, test) = if short { (512, 256) } else { (8_000, 2_000) };
    let (images, labels) = fashion_mnist()?;
    let train = TensorDataset::new(images.narrow(0, 0, train)?, labels.narrow(0, 0, train)?)?;
    let test = TensorDataset::new(images.narrow(0, 8_000, test)?, labels.narrow(0, 8_000, test)?)?;
    let shift = RandomCrop::new(28, 28).padding(2).fill(-MEAN / STD); // filled with black
    let augmented = train.transform((RandomHorizontalFlip::new(0.5), shift));
    let train = DataLoader::new(augmented).shuffle(true).workers(1);

    let model = FashionNet::new(&Device::Cpu)?;
    println!("{model}\n{} parameters", model.num_parameters());
    println!("{}", model.fit(&train, &test, Epochs(epochs))?);

    let path = std::env::temp_dir().join("fashion_mnist.safetensors");
    model.save(&path)?;
    let reloaded = FashionNet::config().load(&path, &Device::Cpu)?;
    println!("saved to {}; after reloading: {}", path.display(), reloaded.evaluate(&test)?);
    assert_eq!(model.evaluate(&test)?, reloaded.evaluate(&test)?);
    Ok(())
}

/// Returns the normalized images `[10000, 1, 28, 28]` and their classes `[10000]`.
fn fashion_mnist() -> Result<(Tensor, Tensor)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = read_idx(directory.join("t10k-images-idx3-ubyte.gz"))?.unsqueeze(1)?.to_dtype(DType::F32)?;
    let labels = read_idx(directory.join("t10k-labels-idx1-ubyte.gz"))?;
    Ok((images.affine(1. / (255. * f64::from(STD)), f64::from(-MEAN / STD))?, labels))
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<(usize, u64, bool), lexopt::Error> {
    let (mut epochs, mut seed, mut short) = (None, 0, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("epochs") => epochs = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            Long("short") => short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok((epochs.unwrap_or(if short { 1 } else { 40 }), seed, short))
}
