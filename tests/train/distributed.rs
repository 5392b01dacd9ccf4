//! Distributed training with ranks that are threads.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sconce::candle::{CpuStorage, CustomOp1, Layout, Shape, Var};
use sconce::prelude::*;
use sconce::train::data::{dataset_fn, from_fn};
use sconce::train::distributed::{Communicator, Compression, Distributed, ThreadCommunicator};
use sconce::train::optim::Lbfgs;
use sconce::train::{Callback, EpochReport, StepReport, Stop};

const CPU: Device = Device::Cpu;

/// A network without batch norm.
#[derive(Module)]
#[module(forward = |x| head(relu(hidden(flatten(relu(conv(x)))))))]
struct Plain {
    #[layer(1, 4, 3)]
    conv: Conv2d,
    #[layer(64, 24)]
    hidden: Linear,
    #[layer(24, 3)]
    head: Linear,
    #[layer]
    flatten: Flatten,
}

/// A network with batch norm.
#[derive(Module)]
#[module(forward = |x| head(flatten(relu(norm(conv(x))))))]
struct Normed {
    #[layer(1, 4, 3)]
    conv: Conv2d,
    #[layer(4)]
    norm: BatchNorm2d,
    #[layer(64, 3)]
    head: Linear,
    #[layer]
    flatten: Flatten,
}

/// Returns images `[count, 1, 6, 6]` and their classes, the same on each call.
fn data(count: usize, batch_size: usize) -> Result<TensorDataset> {
    let pixel = |i: usize| (((i * 7919 + i / 36 * 31) % 1000) as f32 / 500.) - 1.;
    let x = Tensor::from_vec((0..count * 36).map(pixel).collect::<Vec<_>>(), (count, 1, 6, 6), &CPU)?;
    let class = |i: usize| ((i * i + i / 3) % 3) as u32;
    let y = Tensor::from_vec((0..count).map(class).collect::<Vec<_>>(), count, &CPU)?;
    Ok(TensorDataset::new(x, y)?.batch_size(batch_size))
}

/// Gives a network reproducible parameters that do not depend on the shared random number generator.
fn fill(network: &impl Module, seed: usize) -> Result<()> {
    for (index, (_, parameter)) in network.trainable_parameters().into_iter().enumerate() {
        let value =
            |i: usize| (((i + 1) * 2654435761 + index * 40503 + seed * 97) % 2001) as f32 / 5000. - 0.2;
        let values: Vec<f32> = (0..parameter.elem_count()).map(value).collect();
        parameter.set(&Tensor::from_vec(values, parameter.shape(), &CPU)?)?;
    }
    Ok(())
}

/// Returns all values of a list of parameters.
fn values(parameters: Vec<(String, Var)>) -> Result<Vec<f32>> {
    let values =
        parameters.into_iter().map(|(_, parameter)| Ok(parameter.flatten_all()?.to_vec1::<f32>()?));
    Ok(values.collect::<Result<Vec<_>>>()?.concat())
}

/// Runs `f` on `size` ranks and returns their results, or the first error.
fn on_ranks<T: Send>(size: usize, f: impl Fn(Arc<ThreadCommunicator>) -> Result<T> + Sync) -> Result<Vec<T>> {
    ThreadCommunicator::run(size, f).into_iter().collect()
}

/// Returns the gradients of the first step, from the change of the parameters by SGD with a learning rate of 1, by one
/// process if `ranks` is 0. If the number of examples is not a multiple of that of the ranks, the last rank has fewer.
fn first_gradients<M>(
    examples: usize,
    ranks: usize,
    make: impl Fn() -> Result<M> + Sync,
    settings: impl Fn(Distributed) -> Distributed + Sync,
) -> Result<Vec<Vec<f32>>>
where
    M: Module + Forward<Signal, Output = Signal>,
{
    let run = |communicator: Option<Arc<ThreadCommunicator>>| {
        let network = make()?;
        // Each rank starts with other values, which the trainer replaces with those of rank 0.
        fill(&network, communicator.as_ref().map_or(0, |communicator| communicator.rank()))?;
        let data = data(examples, examples.div_ceil(ranks.max(1)))?;
        let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(1.)).quiet(true);
        if let Some(communicator) = communicator {
            trainer = trainer.distributed(settings(Distributed::new(communicator)));
        }
        trainer.fit(&data, &(), Epochs(1))?;
        let after = values(network.trainable_parameters())?;
        let start = make()?;
        fill(&start, 0)?;
        let before = values(start.trainable_parameters())?;
        Ok(before.iter().zip(&after).map(|(before, after)| before - after).collect())
    };
    match ranks {
        0 => Ok(vec![run(None)?]),
        _ => on_ranks(ranks, |communicator| run(Some(communicator))),
    }
}

/// Returns the largest difference relative to the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0f32, |largest, a| largest.max(a.abs()));
    a.iter().zip(b).fold(0f32, |distance, (a, b)| distance.max((a - b).abs())) / largest
}

#[test]
fn the_first_gradients_of_several_ranks_equal_those_of_one() -> Result<()> {
    let make = || Plain::new(&CPU);
    let expected = &first_gradients(24, 0, make, |settings| settings)?[0];
    for ranks in [1, 2, 3, 4] {
        for bucket_bytes in [1, 1 << 10, 4 << 20] {
            for found in first_gradients(24, ranks, make, |settings| settings.bucket_bytes(bucket_bytes))? {
                assert!(distance(expected, &found) < 1e-6, "{ranks} ranks: {}", distance(expected, &found));
            }
        }
    }
    Ok(())
}

#[test]
fn synchronized_batch_norm_equals_that_of_one_process() -> Result<()> {
    let make = || Normed::new(&CPU);
    for examples in [24, 22] {
        let expected = &first_gradients(examples, 0, make, |settings| settings)?[0];
        for ranks in [2, 3, 4] {
            let found = first_gradients(examples, ranks, make, |settings| settings.sync_batch_norm(true))?;
            let error = distance(expected, &found[0]);
            assert!(error < 1e-6, "{examples} examples, {ranks} ranks: {error}");
            let separate = first_gradients(examples, ranks, make, |settings| settings)?;
            assert!(distance(expected, &separate[0]) > 1e-4);
        }
    }
    Ok(())
}

/// A block with a layer that is called twice.
#[derive(Module)]
#[module(forward = |x| linear(relu(linear(x))))]
struct Again {
    #[layer(36, 36)]
    linear: Linear,
}

/// A network with a block that is computed again in the backward pass, which runs a backward pass of its own.
#[derive(Module)]
#[module(forward = |x| head(again(flatten(x))))]
struct WithAgain {
    #[layer]
    flatten: Flatten,
    #[module(recompute)]
    again: Again,
    #[layer(36, 3)]
    head: Linear,
}

#[test]
fn layers_that_are_computed_again_have_the_gradients_of_one_process() -> Result<()> {
    let train = |communicator: Option<Arc<ThreadCommunicator>>| {
        let network = WithAgain::new(&CPU)?;
        fill(&network, 0)?;
        let ranks = communicator.as_ref().map_or(1, |communicator| communicator.size());
        let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1)).quiet(true);
        if let Some(communicator) = communicator {
            trainer = trainer.distributed(Distributed::new(communicator).bucket_bytes(1));
        }
        trainer.fit(&data(24, 12 / ranks)?, &(), Epochs(4))?;
        values(network.trainable_parameters())
    };
    let expected = train(None)?;
    for ranks in [1, 2, 3] {
        let found = on_ranks(ranks, |communicator| train(Some(communicator)))?;
        let error = distance(&expected, &found[0]);
        assert!(error < 1e-6, "{ranks} ranks: {error}");
    }
    Ok(())
}

#[test]
fn shuffled_evaluation_data_gives_every_example_to_one_rank() -> Result<()> {
    for ranks in [2, 3] {
        let seen = Mutex::new(Vec::new());
        let losses = on_ranks(ranks, |communicator| {
            let line = Linear::config(1, 1).init(&CPU)?;
            let loss = recording(&seen);
            let trainer = Trainer::new(&line, loss, Sgd::new(0.1)).quiet(true);
            Ok(trainer.distributed(communicator).evaluate(&numbered(32, 3)?)?.loss)
        })?;
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..32).collect::<Vec<_>>(), "{ranks} ranks");
        assert!(losses.iter().all(|loss| *loss == losses[0]));
    }
    Ok(())
}

#[test]
fn settings_that_differ_between_ranks_are_errors() {
    let check = |expected: &str,
                 train: &(dyn Fn(Arc<ThreadCommunicator>, bool) -> Result<History> + Sync)| {
        let run = |communicator: Arc<ThreadCommunicator>| {
            let is_root = communicator.rank() == 0;
            train(communicator, is_root).map(|_| ())
        };
        for result in ThreadCommunicator::run(2, run) {
            let error = result.expect_err(expected).to_string();
            assert!(error.contains(&format!("the ranks differ in the {expected}")), "{expected}: {error}");
        }
    };
    let line = || Linear::config(1, 1).init(&CPU);
    check("number of epochs", &|communicator, is_root| {
        let line = line()?;
        let trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true);
        trainer.distributed(communicator).fit(&numbered(8, 2)?, &(), Epochs(2 + usize::from(is_root)))
    });
    check("setting `clip_norm`", &|communicator, is_root| {
        let line = line()?;
        let trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        let mut trainer = if is_root { trainer.clip_norm(1.) } else { trainer };
        trainer.fit(&numbered(8, 2)?, &(), Epochs(1))
    });
    check("list of metrics", &|communicator, is_root| {
        let line = line()?;
        let trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        let mut trainer = if is_root { trainer.metric(MeanAbsoluteError::new()) } else { trainer };
        trainer.fit(&numbered(8, 2)?, &(), Epochs(1))
    });
    check("validation data", &|communicator, is_root| {
        let line = line()?;
        let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        let (train, valid) = (numbered(8, 2)?, numbered(8, 2)?);
        if is_root { trainer.fit(&train, &valid, Epochs(1)) } else { trainer.fit(&train, &(), Epochs(1)) }
    });
    let directory = tempfile::tempdir().expect("a temporary directory");
    check("checkpoints", &|communicator, is_root| {
        let line = line()?;
        let trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        let mut trainer = if is_root { trainer.checkpoint(directory.path(), Every::Epoch) } else { trainer };
        trainer.fit(&numbered(8, 2)?, &(), Epochs(1))
    });
}

#[test]
fn a_run_with_synchronized_batch_norm_continues_at_the_end_of_an_epoch() -> Result<()> {
    // 5 batches on 2 ranks: after 2 steps, rank 1 has no batch left.
    let directory = tempfile::tempdir()?;
    let train = |stop: Option<usize>, directory: Option<&Path>| {
        let trained = on_ranks(2, |communicator| {
            let network = Normed::new(&CPU)?;
            fill(&network, 0)?;
            let settings = Distributed::new(communicator).sync_batch_norm(true);
            let trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1)).quiet(true);
            let mut trainer = trainer.distributed(settings).callback(StopAfter(stop));
            if let Some(directory) = directory {
                trainer = trainer.checkpoint(directory, Every::Steps(1000)).resume();
            }
            trainer.fit(&data(20, 4)?, &(), Epochs(2))?;
            values(network.trainable_parameters())
        })?;
        Ok::<_, Error>(trained[0].clone())
    };
    train(Some(2), Some(directory.path()))?;
    let error = distance(&train(None, None)?, &train(None, Some(directory.path()))?);
    assert!(error < 1e-5, "{error}");
    Ok(())
}

#[test]
fn parameters_stay_equal_for_200_steps() -> Result<()> {
    for compression in [None, Some(Compression::F16), Some(Compression::Bf16)] {
        let parameters = on_ranks(3, |communicator| {
            let network = Normed::new(&CPU)?;
            let mut settings = Distributed::new(communicator).bucket_bytes(500);
            if let Some(compression) = compression {
                settings = settings.compression(compression);
            }
            let mut trainer = Trainer::new(&network, cross_entropy, AdamW::new(0.01)).quiet(true);
            trainer = trainer.clip_norm(1.).ema(0.9).distributed(settings);
            // 13 batches for 3 ranks: 5 steps in each epoch.
            let history = trainer.fit(&data(50, 4)?, &data(10, 4)?, Epochs(40))?;
            assert_eq!(history.last().expect("40 epochs").steps, 200);
            let average = trainer.average().expect("there is an average");
            let buffers = network.buffers().into_iter().filter(|(_, buffer)| buffer.dtype() == DType::F32);
            let buffers = buffers.map(|(_, buffer)| Ok(buffer.flatten_all()?.to_vec1::<f32>()?));
            let buffers = buffers.collect::<Result<Vec<_>>>()?.concat();
            let average = average.state_dict();
            let average = average
                .iter()
                .map(|(_, tensor)| Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?));
            let average = average.collect::<Result<Vec<_>>>()?.concat();
            Ok((values(network.trainable_parameters())?, average, buffers, history))
        })?;
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for other in &parameters[1..] {
            assert_eq!(bits(&other.0), bits(&parameters[0].0));
            assert_eq!(bits(&other.1), bits(&parameters[0].1));
            assert_eq!(bits(&other.2), bits(&parameters[0].2));
            assert_eq!(other.3.epochs(), parameters[0].3.epochs());
        }
    }
    Ok(())
}

/// Records the examples of each batch.
fn numbered(count: usize, batch_size: usize) -> Result<TensorDataset> {
    let x = Tensor::arange(0f32, count as f32, &CPU)?.reshape((count, 1))?;
    Ok(TensorDataset::new(x.clone(), x)?.batch_size(batch_size).shuffle(true))
}

/// A loss that records the examples on which a network trains.
fn recording<'a>(seen: &'a Mutex<Vec<usize>>) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'a {
    move |output, target| {
        let examples = target.flatten_all()?.to_vec1::<f32>()?;
        seen.lock().unwrap().extend(examples.into_iter().map(|example| example as usize));
        mse_loss(output, target)
    }
}

#[test]
fn an_epoch_gives_every_example_to_one_rank() -> Result<()> {
    // 11 batches: fewer and more than the ranks, and not a multiple of them.
    for ranks in [2, 3, 4, 13] {
        let seen = Mutex::new(Vec::new());
        on_ranks(ranks, |communicator| {
            let line = Linear::config(1, 1).init(&CPU)?;
            let loss = recording(&seen);
            let trainer = Trainer::new(&line, loss, Sgd::new(1e-9)).quiet(true).distributed(communicator);
            trainer.accumulate(2).fit(&numbered(32, 3)?, &(), Epochs(1))
        })?;
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..32).collect::<Vec<_>>(), "{ranks} ranks");
    }
    Ok(())
}

#[test]
fn uneven_shards_work_with_synchronized_batch_norm() -> Result<()> {
    // 13 batches of at most 4 examples, the last with 2.
    for ranks in [2, 3, 4] {
        let parameters = on_ranks(ranks, |communicator| {
            let network = Normed::new(&CPU)?;
            let settings = Distributed::new(communicator).sync_batch_norm(true);
            let trainer = Trainer::new(&network, cross_entropy, AdamW::new(0.01)).quiet(true);
            trainer.distributed(settings).fit(&data(50, 4)?, &(), Epochs(3))?;
            values(network.trainable_parameters())
        })?;
        assert!(parameters[0].iter().all(|value| value.is_finite()));
        assert!(parameters.iter().all(|values| *values == parameters[0]));
    }
    Ok(())
}

/// Where rank 1 fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Loss,
    Panic,
    Data,
    Callback,
    Validation,
}

/// A callback that fails after the second epoch if the flag is set.
struct FailAfterEpoch(bool);

impl Callback for FailAfterEpoch {
    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        if self.0 && epoch.epoch == 2 { Err(full()) } else { Ok(ControlFlow::Continue(())) }
    }
}

fn full() -> Error {
    Error::msg("the disk is full")
}

#[test]
fn a_rank_that_fails_stops_all_with_its_cause() -> Result<()> {
    use Failure::{Callback, Data, Loss, Panic, Validation};
    for failure in [Loss, Panic, Data, Callback, Validation] {
        let results = ThreadCommunicator::run(3, |communicator| {
            let fails = |here| communicator.rank() == 1 && failure == here;
            let network = Plain::new(&CPU)?;
            let calls = AtomicUsize::new(0);
            let loss = |output: &Tensor, target: &Tensor| {
                let is_third = calls.fetch_add(1, Ordering::Relaxed) == 2;
                assert!(!(is_third && fails(Panic)), "a panic of rank 1");
                if is_third && fails(Loss) { Err(full()) } else { cross_entropy(output, target) }
            };
            // Rank 1 reads every third batch, from the second on.
            let source = |is_broken: bool| {
                let batches = data(50, 4).and_then(|data| data.epoch()?.collect::<Result<Vec<_>>>());
                let batches = batches.unwrap_or_default().into_iter().enumerate();
                batches
                    .map(|(index, batch)| if is_broken && index == 4 { Err(full()) } else { Ok(batch) })
                    .collect::<Vec<_>>()
            };
            let train = from_fn(|| source(fails(Data)));
            let valid = from_fn(|| source(fails(Validation)));
            let mut trainer = Trainer::new(&network, loss, Sgd::new(0.1)).quiet(true);
            trainer = trainer.callback(FailAfterEpoch(fails(Callback))).distributed(communicator.clone());
            trainer.fit(&train, &valid, Epochs(3)).map(|_| ())
        });
        for (rank, result) in results.into_iter().enumerate() {
            let error = result.expect_err("every rank stops").to_string();
            let expected = match (rank, failure) {
                (1, Panic) => "the thread panicked",
                (1, _) => "the disk is full",
                (_, Panic) => "rank 1 of 3 failed: the rank panicked",
                _ => "rank 1 of 3 failed: the disk is full",
            };
            assert_eq!(error, expected, "{failure:?} on rank {rank}");
        }
    }
    Ok(())
}

#[test]
fn a_rank_that_ends_early_stops_the_others() {
    let results = ThreadCommunicator::run(3, |communicator| {
        if communicator.rank() == 2 {
            return Ok(());
        }
        let line = Linear::config(1, 1).init(&CPU)?;
        let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        trainer.fit(&numbered(8, 2)?, &(), Epochs(1)).map(|_| ())
    });
    let errors: Vec<String> =
        results.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
    assert_eq!(errors.len(), 2);
    assert!(
        errors.iter().any(|error| error == "rank 2 of 3 ended while other ranks wait for it"),
        "{errors:?}"
    );
}

#[test]
fn a_callback_of_one_rank_stops_all_after_the_same_step() -> Result<()> {
    let steps = on_ranks(3, |communicator| {
        let network = Plain::new(&CPU)?;
        let stop = StopAfter((communicator.rank() == 2).then_some(3));
        let steps = AtomicUsize::new(0);
        let loss = |output: &Tensor, target: &Tensor| {
            steps.fetch_add(1, Ordering::Relaxed);
            cross_entropy(output, target)
        };
        let mut trainer = Trainer::new(&network, loss, Sgd::new(0.1)).quiet(true).callback(stop);
        trainer = trainer.distributed(communicator);
        let history = trainer.fit(&data(50, 4)?, &(), Epochs(3))?;
        assert_eq!(*history.stop(), Stop::Callback);
        drop(trainer);
        Ok(steps.into_inner())
    })?;
    assert_eq!(steps, [3; 3]);
    Ok(())
}

/// A metric without a state.
struct Stateless;

impl Metric for Stateless {
    fn name(&self) -> String {
        "stateless".into()
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        Ok(0.)
    }

    fn reset(&mut self) {}

    fn state(&self) -> Result<Vec<f64>> {
        Ok(Vec::new())
    }

    fn higher_is_better(&self) -> bool {
        true
    }
}

#[test]
fn unsupported_settings_are_errors() -> Result<()> {
    let fit = |change: fn(Trainer<'_, Linear>) -> Trainer<'_, Linear>| {
        let results = ThreadCommunicator::run(2, |communicator| {
            let line = Linear::config(1, 1).init(&CPU)?;
            let trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
            change(trainer).fit(&numbered(8, 2)?, &(), Epochs(1)).map(|_| ())
        });
        results.into_iter().map(|result| result.expect_err("the setting is not supported").to_string())
    };
    for error in fit(|trainer| trainer.optimizer(Lbfgs::new(0.1))) {
        assert!(error.contains("it does not support distributed training"), "{error}");
    }
    for error in fit(|trainer| trainer.metric(Stateless)) {
        assert!(error.contains("the metric `stateless` cannot be combined"), "{error}");
    }
    let error = numbered(8, 2)?.epoch_part(0, 0).err().expect("a step of 0").to_string();
    assert_eq!(error, "expected a step of at least 1 batch, found 0");
    Ok(())
}

#[test]
fn every_metric_combines_the_batches_of_ranks() -> Result<()> {
    let logits = |seed: usize| {
        let logits: Vec<f32> = (0..60).map(|i| (((i * 37 + seed * 11) % 17) as f32) / 5. - 1.5).collect();
        Tensor::from_vec(logits, (20, 3), &CPU)
    };
    let classes = |seed: usize| {
        Tensor::from_vec((0..20).map(|i| ((i * 5 + seed + i / 7) % 3) as u32).collect::<Vec<_>>(), 20, &CPU)
    };
    let numbers = |seed: usize| logits(seed)?.narrow(1, 0, 1)?.contiguous();
    let make = |index: usize| -> Option<Box<dyn Metric>> {
        Some(match index {
            0 => Box::new(Accuracy::top(1)),
            1 => Box::new(ConfusionMatrix::new()),
            2 => Box::new(F1::macro_average()),
            3 => Box::new(MeanIou::new()),
            4 => Box::new(Perplexity::new()),
            5 => Box::new(Auroc::macro_average()),
            6 => Box::new(AveragePrecision::macro_average()),
            7 => Box::new(MeanAbsoluteError::new()),
            8 => Box::new(RootMeanSquaredError::new()),
            9 => Box::new(R2::new()),
            _ => return None,
        })
    };
    let mut index = 0;
    while let (Some(mut whole), Some(mut merged)) = (make(index), make(index)) {
        for rank in 0..3 {
            let mut part = make(index).expect("the metric exists");
            // Rank 1 has no batch.
            for seed in [rank, rank + 5].into_iter().filter(|_| rank != 1) {
                let batch = if index < 7 {
                    (logits(seed)?, classes(seed)?)
                } else {
                    (numbers(seed)?, numbers(seed + 1)?)
                };
                part.update(&batch.0, &batch.1)?;
                whole.update(&batch.0, &batch.1)?;
            }
            merged.merge(&part.state()?)?;
        }
        assert_eq!(merged.value()?, whole.value()?, "{}", whole.name());
        assert!(merged.merge(&[0.5; 4]).is_err());
        assert_eq!(merged.value()?, whole.value()?, "{}", whole.name());
        index += 1;
    }
    assert_eq!(index, 10);
    let mut three = Accuracy::top(1);
    three.update(&logits(0)?, &classes(0)?)?;
    let mut four = Accuracy::top(1);
    four.update(&Tensor::zeros((1, 4), DType::F32, &CPU)?, &Tensor::zeros(1, DType::U32, &CPU)?)?;
    let error = three.merge(&four.state()?).unwrap_err().to_string();
    assert_eq!(error, "Accuracy: expected 3 classes as in the batches before, found 4");
    Ok(())
}

#[test]
fn a_loader_reads_only_the_batches_of_its_part() -> Result<()> {
    for workers in [0, 2] {
        let read = Arc::new(Mutex::new(Vec::new()));
        let log = read.clone();
        let examples = dataset_fn(50, move |index, _| {
            log.lock().unwrap().push(index);
            Ok((index as f32, index as u32))
        });
        let loader = DataLoader::new(examples).batch_size(4).shuffle(true).seed(1).workers(workers);
        let mut all = Vec::new();
        for first in 0..3 {
            loader.set_epoch(2);
            let part = loader.epoch_part(first, 3)?.collect::<Result<Vec<_>>>()?;
            loader.set_epoch(2);
            let expected = loader.epoch()?.skip(first).step_by(3).collect::<Result<Vec<_>>>()?;
            assert_eq!(part.len(), expected.len());
            for (part, expected) in part.iter().zip(&expected) {
                assert_eq!(part.1.to_vec1::<u32>()?, expected.1.to_vec1::<u32>()?);
                all.extend(part.1.to_vec1::<u32>()?);
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        read.lock().unwrap().clear();
        loader.epoch_part(12, 4)?.try_for_each(|batch| batch.map(|_| ()))?;
        assert_eq!(read.lock().unwrap().len(), 2);
    }
    Ok(())
}

/// The identity. Its backward pass, the last of a step, waits until gradients have been reduced.
struct WaitForReduction(Arc<AtomicUsize>);

impl CustomOp1 for WaitForReduction {
    fn name(&self) -> &'static str {
        "wait for reduction"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> sconce::candle::Result<(CpuStorage, Shape)> {
        Ok((x.clone(), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> sconce::candle::Result<Option<Tensor>> {
        let start = Instant::now();
        while self.0.load(Ordering::SeqCst) == 0 {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "no gradient is reduced during the backward pass"
            );
            std::thread::yield_now();
        }
        Ok(Some(gradient.clone()))
    }
}

/// Counts the reductions of gradients.
struct Counting {
    inner: Arc<ThreadCommunicator>,
    reductions: Arc<AtomicUsize>,
}

impl Communicator for Counting {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        let sum = self.inner.all_reduce(values)?;
        // The trainer adds up other numbers in f64.
        self.reductions.fetch_add(usize::from(values.dtype() == DType::F32), Ordering::SeqCst);
        Ok(sum)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        self.inner.broadcast(values, root)
    }

    fn abort(&self, cause: &str) {
        self.inner.abort(cause);
    }
}

#[test]
fn gradients_are_reduced_while_the_backward_pass_runs() -> Result<()> {
    on_ranks(2, |communicator| {
        // 1 in the first step, in which the order of the gradients is not known yet.
        let reductions = Arc::new(AtomicUsize::new(1));
        let layers = (Linear::config(4, 8).init(&CPU)?, Linear::config(8, 1).init(&CPU)?);
        let input = Var::from_tensor(&Tensor::ones((2, 4), DType::F32, &CPU)?)?;
        let loss = |_: &Tensor, target: &Tensor| {
            let x = layers.0.forward(input.as_tensor())?;
            let x = x.apply_op1(WaitForReduction(reductions.clone()))?;
            mse_loss(&layers.1.forward(&x)?, target)
        };
        let counting = Counting { inner: communicator, reductions: reductions.clone() };
        let settings = Distributed::new(counting).bucket_bytes(1);
        let shared = layers.share();
        let mut trainer = Trainer::new(&shared, loss, Sgd::new(0.1)).quiet(true).distributed(settings);
        let batch = (Tensor::ones((2, 4), DType::F32, &CPU)?, Tensor::ones((2, 1), DType::F32, &CPU)?);
        for _ in 0..3 {
            trainer.step(&batch)?;
            reductions.store(0, Ordering::SeqCst);
        }
        let communication = trainer.communication().expect("training is distributed");
        assert_eq!((communication.steps, communication.buckets), (3, 12));
        Ok(())
    })?;
    Ok(())
}

#[test]
fn different_networks_are_an_error_on_every_rank() {
    let results = ThreadCommunicator::run(2, |communicator| {
        let line = Linear::config(1, 1 + communicator.rank()).init(&CPU)?;
        let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).distributed(communicator);
        trainer.fit(&numbered(8, 2)?, &(), Epochs(1)).map(|_| ())
    });
    for result in results {
        let error = result.expect_err("the networks differ").to_string();
        assert!(error.contains("the ranks differ in the list of trainable parameters"), "{error}");
    }
}

#[test]
fn frozen_parameters_must_be_equal() {
    let results = ThreadCommunicator::run(2, |communicator| {
        let mut network = Plain::new(&CPU)?;
        fill(&network, communicator.rank())?;
        network.freeze("conv.**")?;
        let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1)).quiet(true);
        trainer = trainer.distributed(communicator);
        trainer.fit(&data(8, 2)?, &(), Epochs(1)).map(|_| ())
    });
    for result in results {
        let error = result.expect_err("the networks differ").to_string();
        assert!(error.contains("`conv.weight` of rank 1 has other values than that of rank 0"), "{error}");
    }
}

/// Trains for one epoch on `ranks` ranks, or until `stop` steps are done. Returns the examples on which they trained,
/// and the history.
fn train_part(
    directory: &Path,
    [ranks, accumulate]: [usize; 2],
    stop: Option<usize>,
) -> Result<(Vec<usize>, History)> {
    let seen = Mutex::new(Vec::new());
    let histories = on_ranks(ranks, |communicator| {
        let line = Linear::config(1, 1).init(&CPU)?;
        fill(&line, 0)?;
        let loss = recording(&seen);
        let mut trainer = Trainer::new(&line, loss, Sgd::new(1e-9)).quiet(true).distributed(communicator);
        trainer = trainer.accumulate(accumulate).schedule(Cosine::new()).metric(MeanAbsoluteError::new());
        trainer = trainer.checkpoint(directory, Every::Steps(1000)).resume().callback(StopAfter(stop));
        let loader = DataLoader::new(numbered(61, 3)?).batch_size(3).shuffle(true).seed(4).workers(1);
        trainer.fit(&loader, &(), Epochs(1))
    })?;
    assert!(histories.iter().all(|history| history.epochs() == histories[0].epochs()));
    Ok((seen.into_inner().unwrap(), histories.into_iter().next().expect("there is a rank 0")))
}

/// Stops training after a number of steps.
struct StopAfter(Option<usize>);

impl Callback for StopAfter {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        Ok(if self.0 == Some(step.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

#[test]
fn a_run_continues_with_another_number_of_ranks() -> Result<()> {
    // 21 batches. The first run stops after a few steps of [ranks, accumulated batches].
    for (first, stop, second) in [
        ([2, 1], 3, [3, 1]),
        ([4, 1], 2, [1, 2]),
        ([1, 1], 5, [4, 1]),
        ([2, 2], 2, [4, 1]),
        ([3, 1], 2, [3, 1]),
    ] {
        let directory = tempfile::tempdir()?;
        let (mut seen, history) = train_part(directory.path(), first, Some(stop))?;
        assert!(history.epochs().is_empty());
        assert_eq!(seen.len(), 3 * first[0] * first[1] * stop);
        let (rest, history) = train_part(directory.path(), second, None)?;
        assert!(history.resumed_from().is_some());
        seen.extend(rest);
        seen.sort_unstable();
        assert_eq!(seen, (0..61).collect::<Vec<_>>(), "{first:?}, then {second:?}");
        // The metrics of the epoch count every example once.
        let whole = tempfile::tempdir()?;
        let (_, expected) = train_part(whole.path(), [1, 1], None)?;
        let [found, expected] = [&history, &expected].map(|history| &history.epochs()[0].train);
        assert_eq!(found.examples, 61);
        assert!((found.metrics["mae"] / expected.metrics["mae"] - 1.).abs() < 1e-3);
        assert!((found.loss / expected.loss - 1.).abs() < 1e-3);
    }
    Ok(())
}

#[test]
fn accumulation_clipping_and_averages_equal_those_of_one_process() -> Result<()> {
    let train = |communicator: Option<Arc<ThreadCommunicator>>| {
        let ranks = communicator.as_ref().map_or(1, |communicator| communicator.size());
        let network = Plain::new(&CPU)?;
        fill(&network, 0)?;
        let mut trainer = Trainer::new(&network, cross_entropy, Sgd::new(0.1).momentum(0.9)).quiet(true);
        trainer = trainer.accumulate(2).clip_norm(0.05).ema(0.5).early_stopping(Patience(2));
        trainer = trainer.metric(F1::macro_average()).metric(Auroc::macro_average()).metric(Accuracy::top(2));
        if let Some(communicator) = communicator {
            trainer = trainer.distributed(communicator);
        }
        let history = trainer.fit(&data(48, 12 / ranks)?, &data(20, 3)?, Epochs(6))?;
        let average = trainer.average().expect("there is an average").state_dict();
        let average = average.iter().map(|(_, tensor)| Ok(tensor.flatten_all()?.to_vec1::<f32>()?));
        let average = average.collect::<Result<Vec<_>>>()?.concat();
        Ok((values(network.trainable_parameters())?, average, history))
    };
    let expected = train(None)?;
    for ranks in [2, 3, 4] {
        let found = on_ranks(ranks, |communicator| train(Some(communicator)))?;
        for found in &found {
            assert!(distance(&expected.0, &found.0) < 1e-5);
            assert!(distance(&expected.1, &found.1) < 1e-5);
            assert_eq!(found.2.epochs().len(), expected.2.epochs().len());
            for (found, expected) in found.2.epochs().iter().zip(expected.2.epochs()) {
                let pairs = [
                    (Some(&found.train), Some(&expected.train)),
                    (found.valid.as_ref(), expected.valid.as_ref()),
                ];
                for (found, expected) in pairs.into_iter().filter_map(|(a, b)| Some((a?, b?))) {
                    assert_eq!(found.examples, expected.examples);
                    assert_eq!(found.accuracy, expected.accuracy);
                    assert!((found.loss - expected.loss).abs() < 1e-5);
                    assert_eq!(found.metrics.len(), 3);
                    for (name, value) in &found.metrics {
                        assert!((value - expected.metrics[name]).abs() < 1e-5, "{name}");
                    }
                }
            }
        }
        assert!(found.iter().all(|other| other.2.epochs() == found[0].2.epochs()));
    }
    Ok(())
}

/// A network whose loss runs its layers.
#[derive(Module)]
#[module(forward = |x| head(first(x) + second(x)))]
struct Changing {
    #[layer(36, 8)]
    first: Linear,
    #[layer(36, 8)]
    second: Linear,
    #[layer(8, 3)]
    head: Linear,
}

#[test]
fn ranks_may_have_different_graphs() -> Result<()> {
    // In some steps, a rank uses a layer twice or not at all, and candle's own operations read a weight.
    let forward = |network: &Changing, x: &Tensor, choice: usize| -> Result<Tensor> {
        let x = x.flatten_from(1)?;
        let mut hidden = network.first.forward(&x)?;
        if !choice.is_multiple_of(3) {
            hidden = (hidden + network.second.forward(&x)?)?;
        }
        if choice % 3 > 1 {
            hidden = (hidden + network.first.forward(&x.affine(0.5, 0.)?)?)?;
        }
        let mut y = network.head.forward(&hidden)?;
        if !choice.is_multiple_of(2) {
            y = y.broadcast_add(&(network.second.weight().sum_all()? * 0.1)?)?;
        }
        Ok(y)
    };
    let batch = data(12, 4)?.epoch()?.collect::<Result<Vec<_>>>()?;
    let choices = [[0, 1], [1, 2], [4, 5], [5, 1], [2, 2], [0, 0], [3, 4]];
    let parameters = on_ranks(2, |communicator| {
        let rank = communicator.rank();
        let network = Changing::new(&CPU)?;
        fill(&network, 0)?;
        let step = AtomicUsize::new(0);
        let shared = &network;
        let loss = |_: &Tensor, target: &Tensor| {
            let choice = choices[step.fetch_add(1, Ordering::Relaxed)][rank];
            cross_entropy(&forward(shared, &batch[rank].0, choice)?, target)
        };
        let own = (batch[rank].0.flatten_from(1)?, batch[rank].1.clone());
        let settings = Distributed::new(communicator).bucket_bytes(1);
        let mut trainer = Trainer::new(&network, loss, Sgd::new(0.1)).quiet(true).distributed(settings);
        for _ in 0..choices.len() {
            trainer.step(&own)?;
        }
        values(network.trainable_parameters())
    })?;
    assert_eq!(parameters[0], parameters[1]);
    // One process that adds up the two losses takes the same steps.
    let network = Changing::new(&CPU)?;
    fill(&network, 0)?;
    let vars: Vec<Var> = network.trainable_parameters().into_iter().map(|(_, var)| var).collect();
    for choices in choices {
        let mut loss = Tensor::zeros((), DType::F32, &CPU)?;
        for rank in 0..2 {
            let output = forward(&network, &batch[rank].0, choices[rank])?;
            loss = (loss + (cross_entropy(&output, &batch[rank].1)? * 0.5)?)?;
        }
        let gradients = sconce::backward(&loss)?;
        for var in &vars {
            if let Some(gradient) = gradients.get(var) {
                var.set(&(var.detach() - (gradient * 0.1)?)?)?;
            }
        }
    }
    assert!(distance(&values(network.trainable_parameters())?, &parameters[0]) < 1e-5);
    Ok(())
}

/// With synchronized batch norm, the order of reductions must not depend on the gradients that a rank counts.
#[test]
fn ranks_with_synchronized_batch_norm_may_have_different_losses() -> Result<()> {
    let parameters = on_ranks(2, |communicator| {
        let rank = communicator.rank();
        let network = Normed::new(&CPU)?;
        fill(&network, 0)?;
        let step = AtomicUsize::new(0);
        let penalized = &network;
        // In some steps, the loss of one rank reads parameters on both sides of the batch norm a second time.
        let loss = |output: &Tensor, target: &Tensor| {
            let loss = cross_entropy(output, target)?;
            if step.fetch_add(1, Ordering::Relaxed) % 3 != rank {
                return Ok(loss);
            }
            let norms = [penalized.conv.weight(), penalized.head.weight()].map(|weight| {
                let row = weight.flatten_all()?.unsqueeze(0)?;
                linear(&row, &row, None).into_tensor()
            });
            let [conv, head] = norms;
            Ok((loss + ((conv? + head?)?.sum_all()? * 0.01)?)?)
        };
        let settings = Distributed::new(communicator).bucket_bytes(1).sync_batch_norm(true);
        let mut trainer = Trainer::new(&network, loss, Sgd::new(0.1)).quiet(true).distributed(settings);
        trainer.fit(&data(48, 4)?, &(), Epochs(2))?;
        values(network.trainable_parameters())
    })?;
    assert_eq!(parameters[0], parameters[1]);
    Ok(())
}

#[test]
fn a_resumed_epoch_with_too_few_batches_is_an_error_on_every_rank() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let train = |examples: usize, stop: Option<usize>| {
        ThreadCommunicator::run(2, |communicator| {
            let line = Linear::config(1, 1).init(&CPU)?;
            let trainer = Trainer::new(&line, mse_loss, Sgd::new(1e-3)).quiet(true).distributed(communicator);
            let trainer = trainer.checkpoint(directory.path(), Every::Steps(1000)).resume();
            // The number of batches is known only at the end of an epoch.
            let batches = numbered(examples, 2)?.epoch()?.collect::<Result<Vec<_>>>()?;
            let batches = from_fn(|| batches.clone().into_iter().map(Ok));
            trainer.callback(StopAfter(stop)).fit(&batches, &(), Epochs(2))
        })
    };
    for history in train(40, Some(7)) {
        assert_eq!(*history?.stop(), Stop::Callback);
    }
    for result in train(20, None) {
        let error = result.expect_err("the epoch has 10 batches").to_string();
        assert!(error.contains("expected an epoch of at least 14 batches"), "{error}");
    }
    Ok(())
}
