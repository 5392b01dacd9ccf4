//! Fine-tunes MTCNN's R-Net on crops of a photograph, starting with its published weights. Uses frozen layers, a
//! learning rate and a weight decay for each group of parameters, averaged weights and early stopping.
//!
//! The example `face_detection` defines the network and the crops. The crops overlap, so the validation examples
//! resemble the training examples. The printed metrics show that training works, but not how well the network finds
//! other faces.

#[path = "face_detection/main.rs"]
#[allow(dead_code)] // This example uses neither `main` nor O-Net.
mod face_detection;
#[path = "common/folder.rs"]
mod folder;

use std::path::PathBuf;

use lexopt::prelude::*;
use sconce::prelude::*;
use sconce::train::data::{dataset_fn, random_split};
use sconce::train::metrics;

use face_detection::crops::{Crops, crops, face};
use face_detection::fine_tune::loss;
use face_detection::{PNet, RNet, arguments, golden, photograph};

const HELP: &str = "\
Fine-tunes the published R-Net on crops of a photograph, and saves it.
usage: cargo run --release --example finetune -- [OPTIONS]

--epochs N       the maximum number of passes over the training crops (default: 40)
--seed N         random seed of the split and of the order of the crops (default: 0)
--directory DIR  where to save rnet.safetensors and rnet.pt (default: finetune in the temporary directory)
--short          two epochs, to check that the program runs";

fn main() -> Result<()> {
    let (epochs, seed, directory) = arguments::parse(HELP, parse);
    folder::create(&directory)?;
    manual_seed(seed);

    let [train, valid] = data(seed)?;
    let mut rnet = RNet::config().load(golden("mtcnn_rnet", "rnet.pt"), &Device::Cpu)?;
    for layers in ["conv1.**", "prelu1.**", "conv2.**", "prelu2.**"] {
        rnet.freeze(layers)?;
    }
    let trainable: usize = rnet.trainable_parameters().iter().map(|(_, values)| values.elem_count()).sum();
    println!("{trainable} parameters are trained, {} are frozen", rnet.num_parameters() - trainable);
    println!("published:  {}", trainer(&rnet).evaluate(&valid)?);

    let mut training =
        trainer(&rnet).schedule(LinearLr::new().total_iters(20)).ema(0.95).early_stopping(Patience(5));
    let history = training.fit(&train, &valid, Epochs(epochs))?;
    println!("{:?} after {} epochs", history.stop(), history.epochs().len());
    let averaged = training.average().expect("the trainer averages the weights");
    println!("fine-tuned: {}", trainer(&rnet).evaluate(&valid)?);
    println!("averaged:   {}", trainer(averaged).evaluate(&valid)?);

    for file in ["rnet.safetensors", "rnet.pt"].map(|name| directory.join(name)) {
        averaged.save(&file)?;
        let reloaded = RNet::config().load(&file, &Device::Cpu)?;
        assert_eq!(trainer(&reloaded).evaluate(&valid)?, trainer(averaged).evaluate(&valid)?);
        println!("saved the averaged network to {}", file.display());
    }
    Ok(())
}

/// Returns a trainer with the loss, the metric and the optimizer of this example.
fn trainer(rnet: &RNet) -> Trainer<'_, RNet, (Tensor, Tensor), Crops> {
    let optimizer = AdamW::new(1e-3)
        .weight_decay(0.05)
        .group("conv3.**", |g| g.lr(1e-4)) // the features need less change than the heads
        .group("**.bias", |g| g.weight_decay(0.))
        .group("prelu*.weight", |g| g.weight_decay(0.));
    let f1 = metrics::of("f1", F1::binary(), |(probability, _): &(Tensor, Tensor), crops: &Crops| {
        Ok((probability.clone(), crops.is_face.clone()))
    });
    Trainer::new(rnet, loss, optimizer).metric(f1)
}

/// Returns the batches of the training and of the validation crops.
fn data(seed: u64) -> Result<[impl Batches<Batch = Crops>; 2]> {
    let pnet = PNet::config().load(golden("mtcnn_pnet", "pnet.pt"), &Device::Cpu)?;
    let photograph = photograph("mtcnn_pnet")?;
    let crops = crops(&photograph, &face(&pnet, &photograph)?)?;
    let examples = dataset_fn(crops.images.dim(0)?, move |i, _| {
        let example = crops.map_tensors(&|tensor| Ok(tensor.get(i)?))?;
        Ok(((example.images, example.is_face), (example.offsets, example.face_mask)))
    });
    let [train, valid] = random_split(examples, [0.7, 0.3], seed)?;
    let loader = |part, shuffle| {
        DataLoader::new(part).batch_size(16).shuffle(shuffle).map_batches(
            |((images, is_face), (offsets, face_mask)), _| Ok(Crops { images, is_face, offsets, face_mask }),
        )
    };
    Ok([loader(train, true), loader(valid, false)])
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<(usize, u64, PathBuf), lexopt::Error> {
    let (mut epochs, mut seed, mut directory) = (40, 0, std::env::temp_dir().join("finetune"));
    while let Some(argument) = parser.next()? {
        match argument {
            Long("epochs") => epochs = parser.value()?.parse()?,
            Long("seed") => seed = parser.value()?.parse()?,
            Long("directory") => directory = parser.value()?.into(),
            Long("short") => epochs = 2,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok((epochs, seed, directory))
}
