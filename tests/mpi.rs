//! Distributed training by MPI. `.ci/mpi.sh` runs this program on 2 and 4 ranks. It has no test harness, because MPI
//! must start on the main thread.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use sconce::prelude::*;
use sconce::train::distributed::{Communicator, Compression, Distributed, MpiCommunicator};

const CPU: Device = Device::Cpu;

#[derive(Module)]
#[module(forward = |x| head(flatten(relu(norm(conv(x))))))]
struct Net {
    #[layer(1, 4, 3)]
    conv: Conv2d,
    #[layer(4)]
    norm: BatchNorm2d,
    #[layer(64, 3)]
    head: Linear,
    #[layer]
    flatten: Flatten,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    MpiCommunicator::run(|communicator| match arguments.get(1).map(String::as_str) {
        Some("fail") => fail(communicator),
        Some("panic") => panic_on_rank(communicator),
        Some("settings") => train_with_different_settings(communicator),
        Some("checkpoint") => checkpoint(communicator, &arguments),
        _ => check(&communicator),
    })
}

/// Returns images `[count, 1, 6, 6]` and their classes.
fn data(count: usize, batch_size: usize) -> Result<TensorDataset> {
    let pixel = |i: usize| (((i * 7919 + i / 36 * 31) % 1000) as f32 / 500.) - 1.;
    let x = Tensor::from_vec((0..count * 36).map(pixel).collect::<Vec<_>>(), (count, 1, 6, 6), &CPU)?;
    let class = |i: usize| ((i * i + i / 3) % 3) as u32;
    let y = Tensor::from_vec((0..count).map(class).collect::<Vec<_>>(), count, &CPU)?;
    Ok(TensorDataset::new(x, y)?.batch_size(batch_size).shuffle(true))
}

/// Returns the values of all trainable parameters.
fn values(network: &Net) -> Result<Vec<f32>> {
    let values = network.trainable_parameters().into_iter();
    let values = values.map(|(_, parameter)| Ok(parameter.flatten_all()?.to_vec1::<f32>()?));
    Ok(values.collect::<Result<Vec<_>>>()?.concat())
}

/// Returns the numbers of rank 0.
fn of_root(communicator: &MpiCommunicator, numbers: &[f32]) -> Result<Vec<f32>> {
    let numbers = Tensor::from_slice(numbers, numbers.len(), &CPU)?;
    Ok(communicator.broadcast(&numbers, 0)?.to_vec1()?)
}

/// Runs all checks.
fn check(communicator: &Arc<MpiCommunicator>) -> Result<()> {
    check_operations(communicator)?;
    check_first_step(communicator)?;
    for compression in [None, Some(Compression::F16), Some(Compression::Bf16)] {
        check_200_steps(communicator, compression)?;
    }
    if communicator.rank() == 0 {
        println!("MPI: all checks passed on {} ranks", communicator.size());
    }
    Ok(())
}

/// Checks sums and broadcasts of every dtype.
fn check_operations(communicator: &MpiCommunicator) -> Result<()> {
    let [rank, size] = [communicator.rank(), communicator.size()];
    for length in [1, 2, 7, 1000] {
        let number = |i: usize, rank: usize| ((i * 7 + rank * 3) % 50) as f32 - 20.;
        let of_rank = |rank: usize| {
            Tensor::from_vec((0..length).map(|i| number(i, rank)).collect::<Vec<_>>(), length, &CPU)
        };
        let sums: Vec<f32> = (0..length).map(|i| (0..size).map(|rank| number(i, rank)).sum()).collect();
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let sum = communicator.all_reduce(&of_rank(rank)?.to_dtype(dtype)?)?;
            assert_eq!((sum.dtype(), sum.dims()), (dtype, &[length][..]));
            assert_eq!(sum.to_dtype(DType::F32)?.to_vec1::<f32>()?, sums, "{dtype:?}");
        }
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64] {
            let received = communicator.broadcast(&of_rank(rank)?.to_dtype(dtype)?, size - 1)?;
            let expected = of_rank(size - 1)?.to_vec1::<f32>()?;
            assert_eq!(received.to_dtype(DType::F32)?.to_vec1::<f32>()?, expected, "{dtype:?}");
        }
    }
    assert!(communicator.broadcast(&Tensor::zeros(1, DType::F32, &CPU)?, size).is_err());
    Ok(())
}

/// Checks the first step against the same step of one process, with the whole batch.
fn check_first_step(communicator: &Arc<MpiCommunicator>) -> Result<()> {
    let examples = 24;
    manual_seed(1);
    let alone = Net::new(&CPU)?;
    let mut trainer = Trainer::new(&alone, cross_entropy, Sgd::new(1.)).quiet(true);
    trainer.fit(&data(examples, examples)?.shuffle(false), &(), Epochs(1))?;
    // Only rank 0 starts with the values of `alone`.
    manual_seed(1 + communicator.rank() as u64);
    let network = Net::new(&CPU)?;
    let settings = Distributed::new(communicator.clone()).sync_batch_norm(true).bucket_bytes(100);
    let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(1.)).quiet(true).distributed(settings);
    let batches = data(examples, examples / communicator.size())?.shuffle(false);
    trainer.fit(&batches, &(), Epochs(1))?;
    let expected = of_root(communicator, &values(&alone)?)?;
    let found = values(&network)?;
    let distance = expected.iter().zip(&found).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(distance < 1e-6, "expected the step of one process, found a distance of {distance}");
    Ok(())
}

/// Checks that the parameters stay equal for 200 steps.
fn check_200_steps(communicator: &Arc<MpiCommunicator>, compression: Option<Compression>) -> Result<()> {
    manual_seed(2);
    let network = Net::new(&CPU)?;
    let mut settings = Distributed::new(communicator.clone()).bucket_bytes(500);
    if let Some(compression) = compression {
        settings = settings.compression(compression);
    }
    let trainer = Trainer::new(&network, cross_entropy, AdamW::new(0.01)).quiet(true);
    let mut trainer = trainer.clip_norm(1.).ema(0.9).distributed(settings);
    // In the last step of an epoch, one rank has no batch.
    let batches = 5 * communicator.size() - usize::from(communicator.size() > 1);
    let history = trainer.fit(&data(4 * batches, 4)?, &data(10, 4)?, Epochs(40))?;
    assert_eq!(history.last().map(|epoch| epoch.steps), Some(200));
    let own = values(&network)?;
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&own), bits(&of_root(communicator, &own)?));
    Ok(())
}

/// Fails on rank 1 in the third step.
fn fail(communicator: Arc<MpiCommunicator>) -> Result<()> {
    let rank = communicator.rank();
    let network = Net::new(&CPU)?;
    let calls = Cell::new(0);
    let loss = |output: &Tensor, target: &Tensor| {
        calls.set(calls.get() + 1);
        if rank == 1 && calls.get() == 3 {
            return Err(Error::msg("the disk is full"));
        }
        cross_entropy(output, target)
    };
    let mut trainer = Trainer::new(&network, loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
    trainer.fit(&data(100, 4)?, &(), Epochs(3))?;
    Ok(())
}

/// Panics on rank 1 before training.
fn panic_on_rank(communicator: Arc<MpiCommunicator>) -> Result<()> {
    assert_ne!(communicator.rank(), 1, "a panic of rank 1");
    let network = Net::new(&CPU)?;
    let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1)).quiet(true);
    trainer = trainer.distributed(communicator);
    trainer.fit(&data(100, 4)?, &(), Epochs(3))?;
    Ok(())
}

/// Trains with an average on all ranks except rank 2.
fn train_with_different_settings(communicator: Arc<MpiCommunicator>) -> Result<()> {
    let network = Net::new(&CPU)?;
    let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1)).quiet(true);
    if communicator.rank() != 2 {
        trainer = trainer.ema(0.9);
    }
    trainer.distributed(communicator).fit(&data(100, 4)?, &(), Epochs(3))?;
    Ok(())
}

/// Trains with checkpoints: `checkpoint DIRECTORY STEPS` stops after a number of steps, or after 3 epochs. Prints how
/// the run ended.
fn checkpoint(communicator: Arc<MpiCommunicator>, arguments: &[String]) -> Result<()> {
    let [_, _, directory, steps] = arguments else {
        return Err(Error::msg("expected `checkpoint DIRECTORY STEPS`"));
    };
    let steps = steps.parse().map_err(|_| Error::msg("expected a number of steps"))?;
    let rank = communicator.rank();
    manual_seed(3);
    let network = Net::new(&CPU)?;
    let mut trainer = Trainer::new(&network, cross_entropy, AdamW::new(0.01)).quiet(true);
    trainer = trainer.callback(StopAfter(steps)).checkpoint(Path::new(directory), Every::Steps(100)).resume();
    trainer = trainer.distributed(communicator);
    let history = trainer.fit(&data(50, 4)?, &data(10, 4)?, Epochs(3))?;
    // Every example counts once in an epoch, even if the epoch was interrupted.
    assert!(history.epochs().iter().all(|epoch| epoch.train.examples == 50));
    if rank == 0 {
        println!("epochs: {}, resumed: {}", history.epochs().len(), history.resumed_from().is_some());
    }
    Ok(())
}

/// Stops training after a number of steps.
struct StopAfter(usize);

impl sconce::train::Callback for StopAfter {
    fn on_step(&mut self, step: &sconce::train::StepReport) -> Result<std::ops::ControlFlow<()>> {
        let is_last = step.step == self.0;
        Ok(if is_last { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) })
    }
}
