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

/// The values of a network.
struct Values {
    parameters: Vec<f32>,
    buffers: Vec<f32>,
}

/// Returns all elements of a list of tensors.
fn elements<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<f32>> {
    let elements = |tensor: &Tensor| Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
    Ok(tensors.into_iter().map(elements).collect::<Result<Vec<_>>>()?.concat())
}

/// Trains on all ranks. Returns the values of the network of each rank, and the history of rank 0.
fn train(directory: &Path, stop: Option<usize>) -> Result<(Vec<Values>, History)> {
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
        let parameters = net.trainable_parameters();
        let parameters = elements(parameters.iter().map(|(_, parameter)| parameter.as_tensor()))?;
        let buffers = elements(net.buffers().iter().map(|(_, buffer)| buffer))?;
        let values = Values { parameters, buffers };
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
    let whole = tempfile::tempdir()?;
    let (expected, expected_history) = train(whole.path(), None)?;
    assert_eq!(expected_history.epochs().len(), 4);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    // The uninterrupted run saves a checkpoint every 5 steps.
    for stop in [20, 17] {
        let parts = tempfile::tempdir()?;
        let (_, history) = train(parts.path(), Some(stop))?;
        assert_eq!(*history.stop(), Stop::Callback);
        assert_eq!(history.epochs().len(), 1);
        let (found, history) = train(parts.path(), None)?;
        assert!(history.resumed_from().is_some());
        for ranks in [&found, &expected] {
            for values in ranks {
                assert_eq!(bits(&values.parameters), bits(&expected[0].parameters));
                assert_eq!(bits(&values.buffers), bits(&ranks[0].buffers));
            }
        }
        // Each checkpoint averages the running statistics, so those of another checkpoint are rounded differently.
        if stop == 20 {
            assert_eq!(numbers(&history), numbers(&expected_history));
            assert_eq!(bits(&found[0].buffers), bits(&expected[0].buffers));
        }
        for (found, expected) in found[0].buffers.iter().zip(&expected[0].buffers) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.));
        }
    }
    Ok(())
}
