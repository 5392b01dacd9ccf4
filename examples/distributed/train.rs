//! Fashion-MNIST on several ranks.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sconce::prelude::*;
use sconce::train::data::read_idx;
use sconce::train::distributed::{Communicator, Compression, Distributed};

use crate::Options;

/// The mean of the pixels, on a scale from 0 to 1.
const MEAN: f32 = 0.286;
/// The standard deviation of the pixels, on the same scale.
const STD: f32 = 0.353;

#[derive(Module)]
#[module(forward = |x| {
    let x = max_pool2d(relu(bn1(conv1(x))), 2);
    let x = max_pool2d(relu(bn2(conv2(x))), 2);
    fc2(dropout(relu(fc1(flatten(x, 1)))))
})]
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

/// Trains on all ranks. Rank 0 prints the accuracy, and the speed compared with that of rank 0 alone.
pub fn run(communicator: Arc<dyn Communicator>, options: &Options) -> Result<()> {
    let ranks = communicator.size();
    let is_root = communicator.rank() == 0;
    let [train, test] = if options.short { [512, 256] } else { [8_000, 2_000] };
    let (images, labels) = fashion_mnist()?;
    let part = |start, count| -> Result<TensorDataset> {
        TensorDataset::new(images.narrow(0, start, count)?, labels.narrow(0, start, count)?)
    };
    let alone = examples_per_second_alone(&communicator, &part(0, train)?.batch_size(options.batch))?;

    // Each rank takes its part of the batch of a step.
    let loader = DataLoader::new(part(0, train)?).shuffle(true).seed(options.seed);
    let loader = loader.batch_size((options.batch / ranks).max(1));
    manual_seed(options.seed);
    let model = FashionNet::new(&Device::Cpu)?;
    let mut settings = Distributed::new(communicator).sync_batch_norm(options.sync_batch_norm);
    if options.bf16 {
        settings = settings.compression(Compression::Bf16);
    }
    let optimizer = AdamW::new(4e-3).weight_decay(0.05);
    let trainer = Trainer::new(&model, cross_entropy, optimizer).schedule(Cosine::new().warmup(5));
    let mut trainer = trainer.distributed(settings).progress(false);
    let epochs = Epochs(options.epochs.unwrap_or(if options.short { 2 } else { 15 }));
    let history = trainer.fit(&loader, &part(8_000, test)?, epochs)?;

    if let (true, Some(last), Some(communication)) = (is_root, history.last(), trainer.communication()) {
        let accuracy = last.valid.as_ref().and_then(|valid| valid.accuracy).unwrap_or(f64::NAN);
        println!("{ranks} ranks: test accuracy {:.2} %", 100. * accuracy);
        println!(
            "{:.0} images per second; rank 0 alone {alone:.0}; speed-up {:.2}",
            last.examples_per_second,
            last.examples_per_second / alone
        );
        println!(
            "{} steps; reduction {:.2} ms per step, of which {:.0} % overlaps with the backward pass",
            communication.steps,
            1e3 * communication.reduction.as_secs_f64() / communication.steps as f64,
            100. * communication.overlap()
        );
    }
    Ok(())
}

/// Returns how many examples rank 0 trains on in a second while the other ranks wait.
fn examples_per_second_alone(communicator: &Arc<dyn Communicator>, data: &TensorDataset) -> Result<f64> {
    const STEPS: usize = 40;
    let mut speed = 0.;
    if communicator.rank() == 0 {
        let model = FashionNet::new(&Device::Cpu)?;
        let mut trainer = Trainer::new(&model, cross_entropy, AdamW::new(4e-3).weight_decay(0.05));
        let batches = data.epoch()?.take(STEPS).collect::<Result<Vec<_>>>()?;
        trainer.step(&batches[0])?;
        let start = Instant::now();
        let mut examples = 0;
        for batch in &batches {
            examples += trainer.step(batch)?.examples;
        }
        speed = examples as f64 / start.elapsed().as_secs_f64();
    }
    let speed = communicator.broadcast(&Tensor::new(&[speed], &Device::Cpu)?, 0)?;
    Ok(speed.to_vec1::<f64>()?[0])
}

/// Returns the normalized images `[10000, 1, 28, 28]` and their classes `[10000]`.
fn fashion_mnist() -> Result<(Tensor, Tensor)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = read_idx(directory.join("t10k-images-idx3-ubyte.gz"))?.unsqueeze(1)?.to_dtype(DType::F32)?;
    let labels = read_idx(directory.join("t10k-labels-idx1-ubyte.gz"))?;
    Ok((images.affine(1. / (255. * f64::from(STD)), f64::from(-MEAN / STD))?, labels))
}
