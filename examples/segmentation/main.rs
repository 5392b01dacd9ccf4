//! Trains a U-Net to find the garments in scenes composed of Fashion-MNIST's images, and draws its predictions.

#[path = "../common/arguments.rs"]
mod arguments;
#[path = "../common/folder.rs"]
mod folder;
mod picture;
mod scenes;
#[path = "../networks/unet.rs"]
mod unet;

use std::path::PathBuf;

use lexopt::prelude::*;
use sconce::prelude::*;

use scenes::{CLASSES, garments, scenes};
use unet::unet;

const HELP: &str = "\
Trains a U-Net on scenes of two to five overlapping garments of Fashion-MNIST, tests it on scenes of further garments,
and draws eight of these scenes: the input, the true classes and the predicted classes.
usage: cargo run --release --example segmentation -- [OPTIONS]

--epochs N      passes over 1,000 scenes, which are new in each pass (default: 8)
--seed N        random seed of the run (default: 0)
--pictures DIR  folder for the pictures (default: sconce-segmentation, in the folder for temporary files)
--short         one epoch of 32 scenes, to check that the program runs";

fn main() -> Result<()> {
    let Arguments { epochs, seed, pictures, short } = arguments::parse(HELP, parse);
    folder::create(&pictures)?;
    manual_seed(seed);

    let (count, test_count, warmup) = if short { (32, 16, 1) } else { (1_000, 200, 50) };
    let mut garments = garments()?;
    let unseen = garments.split_off(8_000);
    let train = DataLoader::new(scenes(garments, count)).batch_size(8).workers(1);
    let test = DataLoader::new(scenes(unseen, test_count)).batch_size(8);
    let test: Vec<_> = test.iter()?.collect::<Result<_>>()?; // the same scenes after every epoch

    let model = unet(1, CLASSES.len()).width(16).init(&Device::Cpu)?;
    println!("{} parameters", model.num_parameters());
    let trainer =
        Trainer::new(&model, cross_entropy, AdamW::new(5e-3)).schedule(Cosine::new().warmup(warmup));
    println!("{}", trainer.metric(MeanIou::new()).fit(&train, &test, Epochs(epochs))?);

    let model = model.inference()?;
    let mut iou = MeanIou::new();
    for (images, classes) in &test {
        iou.update(&model.forward(images)?, classes)?;
    }
    println!("mean IoU on {test_count} scenes of unseen garments: {:.3}", iou.value()?);
    for ((name, _), iou) in CLASSES.iter().zip(iou.per_class()) {
        println!("  {name:<10} {iou:.3}");
    }

    let (images, classes) = &test[0]; // 8 scenes
    let predicted = model.forward(images)?.argmax(1)?.to_dtype(DType::U8)?;
    for scene in 0..8 {
        let path = pictures.join(format!("{scene}.png"));
        picture::write(&path, &images.get(scene)?, &classes.get(scene)?, &predicted.get(scene)?)?;
    }
    println!("pictures of 8 scenes: {}", pictures.display());
    Ok(())
}

struct Arguments {
    epochs: usize,
    seed: u64,
    pictures: PathBuf,
    short: bool,
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let (mut epochs, mut seed, mut pictures, mut short) = (None, 0, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("epochs") => epochs = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            Long("pictures") => pictures = Some(parser.value()?.into()),
            Long("short") => short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    let epochs = epochs.unwrap_or(if short { 1 } else { 8 });
    let pictures = pictures.unwrap_or_else(|| std::env::temp_dir().join("sconce-segmentation"));
    Ok(Arguments { epochs, seed, pictures, short })
}
