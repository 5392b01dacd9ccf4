//! Resumed training on several ranks ends with the same bits as uninterrupted training.

use std::ops::ControlFlow;
use std::path::Path;

use sconce::prelude::*;
use sconce::random;
use sconce::train::distributed::{Communicator, ThreadCommunicator};
use sconce::train::{Callback, StepReport, Stop};

use crate::passed_in_own_process;

const CPU: Device = Device::Cpu;
const RANKS: usize = 2;

/// A network with running statistics and random masks.
#[derive(Module)]
struct Net {
    #[layer(4, 16)]
    hidden: Linear,
    #[layer(16)]
    norm: BatchNorm,
    relu: Relu,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(16, 3)]
    head: Linear,
}

/// Stops training after a number of steps, on rank 1.
struct StopAfter(Option<usize>);

impl Callback for StopAfter {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        Ok(if self.0 == Some(step.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Trains on all ranks. Returns the values of the network of each rank, and the history of rank 0.
fn train(directory: &Path, stop: Option<usize>) -> Result<(Vec<Vec<f32>>, History)> {
    manual_seed(3);
    let x = random::normal((90, 4), 0., 1., DType::F32, &CPU)?;
    let y =
        (x.narrow(1, 0, 1)?.gt(0f32)? + x.narrow(1, 1, 1)?.gt(0f32)?)?.squeeze(1)?.to_dtype(DType::U32)?;
    // 23 batches: in the last step of an epoch, one rank has none. The order comes from the shared generator.
    let data = TensorDataset::new(x, y)?.batch_size(4).shuffle(true);
    let nets = (0..RANKS).map(|_| Net::new(&CPU)).collect::<Result<Vec<_>>>()?;
    let results = ThreadCommunicator::run(RANKS, |communicator| {
        let rank = communicator.rank();
        let net = &nets[rank];
        let mut trainer = Trainer::new(net, cross_entropy, AdamW::new(0.02)).quiet(true);
        trainer =
            trainer.clip_norm(1.).ema(0.9).metric(F1::macro_average()).schedule(Cosine::new().warmup(3));
        trainer = trainer.checkpoint(directory, Every::Steps(5)).resume().distributed(communicator);
        if rank == 1 {
            trainer = trainer.callback(StopAfter(stop));
        }
        let history = trainer.fit(&data, &data, Epochs(4))?;
        let mut values = Vec::new();
        for (_, tensor) in &net.state_dict() {
            values.extend(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok((values, history))
    });
    let results = results.into_iter().collect::<Result<Vec<_>>>()?;
    let (values, mut histories): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    Ok((values, histories.swap_remove(0)))
}

/// Returns all values of a history that do not measure time, as bits.
fn numbers(history: &History) -> Vec<u64> {
    let mut numbers = Vec::new();
    for epoch in history.epochs() {
        numbers.push(epoch.learning_rate);
        for evaluation in [Some(&epoch.train), epoch.valid.as_ref()].into_iter().flatten() {
            numbers.extend([evaluation.loss, evaluation.accuracy.unwrap_or(0.), evaluation.examples as f64]);
            numbers.extend(evaluation.metrics.values());
        }
    }
    numbers.into_iter().map(f64::to_bits).collect()
}

#[test]
fn a_resumed_run_on_two_ranks_has_the_same_bits() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let [whole, parts] = [tempfile::tempdir()?, tempfile::tempdir()?];
    // The uninterrupted run saves its state after the same step.
    let (expected, expected_history) = train(whole.path(), None)?;
    assert_eq!(expected_history.epochs().len(), 4);
    let (_, history) = train(parts.path(), Some(20))?;
    assert_eq!(*history.stop(), Stop::Callback);
    assert_eq!(history.epochs().len(), 1);
    let (found, history) = train(parts.path(), None)?;
    assert!(history.resumed_from().is_some());
    assert_eq!(numbers(&history), numbers(&expected_history));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for values in found.iter().chain(&expected) {
        assert_eq!(bits(values), bits(&expected[0]));
    }
    Ok(())
}
