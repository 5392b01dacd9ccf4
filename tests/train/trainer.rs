//! The trainer: batches of any type, steps, and the settings of a run.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use sconce::prelude::*;
use sconce::random;
use sconce::train::metrics;
use sconce::train::schedule::PlateauMode;
use sconce::train::{Callback, EpochReport, FitPlan, StepReport, Stop, clip_grad_norm};

use crate::common::message;

const CPU: Device = Device::Cpu;

/// A batch of images and texts, with two targets for each example.
#[derive(Batch, Clone)]
struct Post {
    #[batch(input)]
    image: Tensor,
    #[batch(input)]
    text: Option<Tensor>,
    class: Tensor,
    score: Tensor,
    #[batch(skip)]
    source: &'static str,
}

#[derive(Module)]
#[module(forward = |image, text: Option<Signal>| -> (Signal, Signal) {
    let x = image_layer(image);
    let x = match text {
        Some(text) => x + text_layer(text),
        None => x,
    };
    let x = relu(x);
    (class(&x), score(x))
})]
struct TwoHeads {
    #[layer(3, 8)]
    image_layer: Linear,
    #[layer(2, 8)]
    text_layer: Linear,
    #[layer(8, 2)]
    class: Linear,
    #[layer(8, 1)]
    score: Linear,
}

type Heads = (Tensor, Tensor);

fn both_losses(output: &Heads, post: &Post) -> Result<Tensor> {
    assert_eq!(post.source, "generated");
    Ok((cross_entropy(&output.0, &post.class)? + mse_loss(&output.1, &post.score)?)?)
}

fn posts(count: usize) -> Result<Post> {
    let image = random::normal((count, 3), 0., 1., DType::F32, &CPU)?;
    let text = random::normal((count, 2), 0., 1., DType::F32, &CPU)?;
    let class = image.narrow(1, 0, 1)?.gt(0f32)?.squeeze(1)?.to_dtype(DType::U32)?;
    let score = (image.narrow(1, 1, 1)? + text.narrow(1, 1, 1)?)?;
    Ok(Post { image, text: Some(text), class, score, source: "generated" })
}

#[test]
fn networks_with_several_inputs_and_outputs_train_with_a_loss_that_reads_the_batch() -> Result<()> {
    let net = TwoHeads::new(&CPU)?;
    let train = (0..8).map(|_| posts(16)).collect::<Result<Vec<_>>>()?;
    let valid = vec![posts(64)?];
    let classes = |output: &Heads, post: &Post| Ok((output.0.clone(), post.class.clone()));
    let scores = |output: &Heads, post: &Post| Ok((output.1.clone(), post.score.clone()));
    let mut trainer = Trainer::new(&net, both_losses, AdamW::new(0.02))
        .quiet(true)
        .metric(metrics::of("class_accuracy", Accuracy::top(1), classes))
        .metric(metrics::of("score_mae", MeanAbsoluteError::new(), scores))
        .monitor("score_mae");
    let history = trainer.fit(&train, &valid, Epochs(15))?;
    let (first, last) = (&history.epochs()[0], history.last().unwrap());
    assert_eq!((last.train.examples, last.valid.as_ref().unwrap().examples), (128, 64));
    assert!(last.value("score_mae") < first.value("score_mae"), "{history}");
    assert!(last.value("class_accuracy") > Some(0.7), "{last}");
    assert!(last.train.metrics["class_accuracy"] > 0.7);
    assert_eq!(last.train.accuracy, None, "the output is not one tensor");
    let best =
        history.epochs().iter().map(|epoch| epoch.value("score_mae").unwrap()).fold(f64::NAN, f64::min);
    assert_eq!(history.best().unwrap().value("score_mae"), Some(best));
    // An input may be absent.
    let without_text = Post { text: None, ..posts(4)? };
    assert_eq!(trainer.step(&without_text)?.examples, 4);
    Ok(())
}

#[test]
fn the_derived_batch_moves_and_counts_its_tensors() -> Result<()> {
    let post = posts(5)?;
    assert_eq!(post.examples(), 5);
    let (image, text): (Signal, Option<Signal>) = post.input();
    assert_eq!((image.dims()?, text.unwrap().dims()?), (&[5, 3][..], &[5, 2][..]));
    let moved = post.to_device(&CPU)?;
    assert_eq!((moved.source, moved.score.dims()), ("generated", &[5, 1][..]));
    assert!(std::ptr::eq(post.target(), &post));
    Ok(())
}

/// Returns a linear layer in f64, in which sums of gradients change little if their order changes.
fn line() -> Result<Linear> {
    let mut line = Linear::config(3, 1).init(&CPU)?;
    line.to_dtype(DType::F64)?;
    Ok(line)
}

fn numbers(count: usize) -> Result<(Tensor, Tensor)> {
    let x = random::normal((count, 3), 0., 1., DType::F64, &CPU)?;
    Ok((x.clone(), x.sum_keepdim(1)?.sqr()?))
}

/// Returns the pair of tensors as consecutive batches of the given sizes.
fn split(data: &(Tensor, Tensor), sizes: &[usize]) -> Result<Vec<(Tensor, Tensor)>> {
    let mut start = 0;
    let part = |size: &usize| {
        let part = (data.0.narrow(0, start, *size)?, data.1.narrow(0, start, *size)?);
        start += size;
        Ok(part)
    };
    sizes.iter().map(part).collect()
}

fn weights(line: &Linear) -> Result<Vec<f64>> {
    let parameters = line.parameters();
    let flat = parameters.iter().map(|tensor| tensor.flatten_all()).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::cat(&flat, 0)?.to_vec1()?)
}

fn assert_close(found: &[f64], expected: &[f64]) {
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
    assert!(close, "expected {expected:?}, found {found:?}");
}

#[test]
fn accumulated_steps_equal_those_of_large_batches() -> Result<()> {
    let data = numbers(26)?;
    let start = line()?;
    // `small` gives two steps that accumulate three batches of different sizes, and a last step with only two batches.
    let large = split(&data, &[11, 9, 6])?;
    let small = split(&data, &[4, 1, 6, 3, 3, 3, 5, 1])?;
    let train = |batches: &Vec<(Tensor, Tensor)>, accumulate: usize| -> Result<_> {
        let net = start.deep_clone()?;
        let norms = Rc::default();
        let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01).momentum(0.9)).quiet(true);
        trainer = trainer.accumulate(accumulate).clip_norm(3.).callback(Norms(Rc::clone(&norms)));
        let history = trainer.fit(batches, &(), Epochs(3))?;
        assert_eq!(history.epochs().len(), 3);
        Ok((weights(&net)?, norms.take(), trainer.step(&batches[0])?.step))
    };
    let (expected, norms, steps) = train(&large, 1)?;
    let (found, accumulated_norms, accumulated_steps) = train(&small, 3)?;
    assert_close(&found, &expected);
    assert!(weights(&start)?.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 0.01));
    // No callback runs after the incomplete last step, so its norm is not recorded.
    assert_close(&accumulated_norms[..2], &norms[..2]);
    assert_eq!((steps, accumulated_steps), (10, 9));
    // A loop with `Trainer::step` gives the same weights.
    let net = start.deep_clone()?;
    let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01).momentum(0.9)).accumulate(3).clip_norm(3.);
    for _ in 0..3 {
        let updated: Vec<bool> =
            small.iter().map(|batch| Ok(trainer.step(batch)?.updated)).collect::<Result<_>>()?;
        assert_eq!(updated, [false, false, true, false, false, true, false, false]);
        trainer.finish_epoch()?;
    }
    assert_eq!(weights(&net)?, found);
    Ok(())
}

/// Records the norms of the gradients.
struct Norms(Rc<RefCell<Vec<f64>>>);

impl Callback for Norms {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        self.0.borrow_mut().extend(step.gradient_norm);
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn steps_clip_the_gradients_and_average_the_weights() -> Result<()> {
    let data = split(&numbers(20)?, &[10, 10])?;
    let trained = line()?;
    let by_hand = trained.deep_clone()?;
    let mut trainer = Trainer::new(&trained, mse_loss, Sgd::new(0.1)).clip_value(0.5).clip_norm(0.7).ema(0.9);
    assert!(trainer.average().is_none());
    let mut optimizer = Sgd::new(0.1).build(by_hand.trainable_parameters())?;
    let mut average = Ema::new(&by_hand, 0.9)?;
    for (x, y) in data.iter().cycle().take(6) {
        let report = trainer.step(&(x.clone(), y.clone()))?;
        let loss = mse_loss(&by_hand.forward_t(x, true)?, y)?;
        assert_eq!(report.loss()?, loss.to_scalar::<f64>()?);
        let mut grads = sconce::backward(&loss)?;
        clip_grad_value(&by_hand, &mut grads, 0.5)?;
        let norm = clip_grad_norm(&by_hand, &mut grads, 0.7)?;
        assert_eq!(report.gradient_norm, Some(norm));
        optimizer.step(&grads)?;
        average.update(&by_hand)?;
    }
    assert_eq!(weights(&trained)?, weights(&by_hand)?);
    assert_eq!(weights(trainer.average().unwrap())?, weights(average.network())?);
    // `evaluate` uses the average.
    let (x, y) = &data[0];
    let expected = mse_loss(&average.network().forward(x)?, y)?.to_scalar::<f64>()?;
    assert_close(&[trainer.evaluate(&vec![data[0].clone()])?.loss], &[expected]);
    Ok(())
}

#[test]
fn validation_and_the_best_epoch_use_the_average() -> Result<()> {
    let data = split(&numbers(20)?, &[10, 10])?;
    let net = line()?;
    let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.1)).quiet(true).ema(0.95).keep_best(true);
    let history = trainer.fit(&data, &data, Epochs(4))?;
    assert!(trainer.average().is_none(), "the network should have the values of the best average");
    assert_close(&[trainer.evaluate(&data)?.loss], &[history.best().unwrap().loss()]);
    assert_ne!(history.last().unwrap().loss(), history.last().unwrap().train.loss);
    Ok(())
}

#[test]
fn a_schedule_gets_the_number_of_steps_from_the_run() -> Result<()> {
    let data = split(&numbers(10)?, &[2, 2, 2, 2, 2])?;
    let net = line()?;
    let rates = Rc::default();
    let trainer =
        || Trainer::new(&net, mse_loss, Sgd::new(0.5)).quiet(true).callback(Rates(Rc::clone(&rates)));
    // Three steps in each of four epochs.
    trainer().accumulate(2).schedule(Cosine::new().warmup(2)).fit(&data, &(), Epochs(4))?;
    let reference = Cosine::new().warmup(2).total_steps(12);
    let expected: Vec<f64> =
        [0, 0, 1, 1, 2, 3, 3, 4, 4, 5].into_iter().map(|step| reference.rate(0.5, step)).collect();
    assert_eq!(rates.take()[..10], expected);
    // The run has five intervals of two steps. The last schedule of the sequence gets the three that remain.
    let sequence = SequentialLr::new(LinearLr::new()).then(2, Cosine::new());
    trainer().schedule((sequence, Every::Steps(2))).fit(&data, &(), Epochs(2))?;
    let reference = Cosine::new().total_steps(3);
    assert_eq!(rates.take()[4..], [0, 0, 1, 1, 2, 2].map(|step| reference.rate(0.5, step)));
    let unknown = sconce::train::data::from_fn(|| vec![numbers(2)]);
    let error = message(trainer().schedule(Cosine::new()).fit(&unknown, &(), Epochs(1)));
    assert!(error.starts_with("Cosine: the number of steps of the run is unknown"), "{error}");
    trainer().schedule(Cosine::new()).total_steps(7).fit(&unknown, &(), Epochs(1))?;
    let error = message(trainer().schedule(Cosine::new().warmup(9)).fit(&data, &(), Epochs(1)));
    assert_eq!(error, "Cosine: expected a warm-up of fewer than the 5 steps of the run, found 9");
    let error = message(trainer().schedule((Cosine::new(), Every::Steps(0))).fit(&data, &(), Epochs(1)));
    assert_eq!(error, "schedule: expected an interval of at least 1, found Steps(0)");
    Ok(())
}

/// Records the learning rates.
struct Rates(Rc<RefCell<Vec<f64>>>);

impl Callback for Rates {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        self.0.borrow_mut().push(step.learning_rate);
        Ok(ControlFlow::Continue(()))
    }
}

/// A metric that ignores its batches. Its value depends only on the number of resets.
struct Scripted {
    values: Vec<f64>,
    resets: usize,
    higher_is_better: bool,
}

impl Metric for Scripted {
    fn name(&self) -> String {
        "scripted".into()
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        Ok(self.values[self.resets.min(self.values.len() - 1)])
    }

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn state(&self) -> Result<Vec<f64>> {
        Ok(vec![self.resets as f64])
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        self.resets = state[0] as usize;
        Ok(())
    }

    fn higher_is_better(&self) -> bool {
        self.higher_is_better
    }
}

/// Returns a metric that has the given values in successive epochs, if training has no validation. The first reset,
/// before the first epoch, selects the first value.
fn scripted(values: &[f64], higher_is_better: bool) -> Scripted {
    Scripted { values: [&[f64::NAN], values].concat(), resets: 0, higher_is_better }
}

#[test]
fn early_stopping_and_the_best_epoch_follow_the_monitored_value() -> Result<()> {
    let data = vec![numbers(4)?];
    let net = line()?;
    let fit = |metric: Scripted, patience| {
        let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(1e-3)).quiet(true).metric(metric);
        trainer = trainer.monitor("scripted").early_stopping(Patience(patience));
        trainer.fit(&data, &(), Epochs(9))
    };
    let values = [0.5, 0.7, 0.6, 0.65, 0.9, 0.1, f64::NAN, 0.3];
    let history = fit(scripted(&values, true), 2)?;
    assert_eq!((history.epochs().len(), history.best().unwrap().epoch), (4, 2));
    assert_eq!(history.stop(), &Stop::EarlyStopping);
    let history = fit(scripted(&values, true), 3)?;
    assert_eq!((history.epochs().len(), history.best().unwrap().epoch), (8, 5));
    let history = fit(scripted(&values, false), 5)?;
    assert_eq!((history.epochs().len(), history.best().unwrap().epoch), (9, 6));
    assert_eq!(history.stop(), &Stop::Finished);

    let trainer = || Trainer::new(&net, mse_loss, Sgd::new(1e-3)).quiet(true).metric(scripted(&values, true));
    let error = message(trainer().monitor("f1").fit(&data, &(), Epochs(1)));
    assert_eq!(error, "cannot monitor `f1`: expected one of `loss`, `accuracy`, `scripted`");
    let error = message(trainer().monitor("accuracy").fit(&data, &(), Epochs(1)));
    assert!(error.contains("the targets are not class indices"), "{error}");
    let error = message(trainer().metric(scripted(&values, true)).fit(&data, &(), Epochs(1)));
    assert!(error.starts_with("two metrics are named `scripted`"), "{error}");
    Ok(())
}

#[test]
fn a_plateau_of_the_monitored_value_lowers_the_learning_rate() -> Result<()> {
    let data = vec![numbers(4)?];
    let net = line()?;
    let plateau = || ReduceLrOnPlateau::new().factor(0.5).patience(1).mode(PlateauMode::Max);
    let fit = |plateau: ReduceLrOnPlateau| {
        let metric = scripted(&[0.5, 0.7, 0.6, 0.6, 0.6, 0.6], true);
        let trainer = Trainer::new(&net, mse_loss, Sgd::new(8e-3)).quiet(true).metric(metric);
        trainer.monitor("scripted").schedule(plateau).fit(&data, &(), Epochs(6))
    };
    let history = fit(plateau())?;
    let rates: Vec<f64> = history.epochs().iter().map(|epoch| epoch.learning_rate).collect();
    assert_eq!(rates, [8e-3, 8e-3, 8e-3, 8e-3, 4e-3, 4e-3]);
    let error = message(fit(plateau().mode(PlateauMode::Min)));
    assert_eq!(error, "ReduceLrOnPlateau: expected the mode Max for `scripted`, found Min");
    Ok(())
}

#[test]
fn a_resumed_run_continues_the_plateau() -> Result<()> {
    let (data, net, directory) = (vec![numbers(4)?], line()?, tempfile::tempdir()?);
    let fit = |epochs| {
        let plateau = ReduceLrOnPlateau::new().factor(0.5).patience(1).mode(PlateauMode::Max);
        let metric = scripted(&[0.5, 0.7, 0.6, 0.6, 0.6, 0.6], true);
        let trainer = Trainer::new(&net, mse_loss, Sgd::new(8e-3)).quiet(true).metric(metric);
        let trainer =
            trainer.monitor("scripted").schedule(plateau).checkpoint(directory.path(), Every::Epoch);
        { trainer }.resume().fit(&data, &(), Epochs(epochs))
    };
    fit(3)?;
    // The fourth epoch is the second in succession without improvement.
    let history = fit(5)?;
    assert_eq!(history.last().expect("the history should have five epochs").learning_rate, 4e-3);
    Ok(())
}

/// Records the calls of its methods, and stops training at a step or an epoch. A call of `on_step` is recorded as
/// `epoch.batch: step`.
#[derive(Default)]
struct Recorder {
    calls: Rc<RefCell<Vec<String>>>,
    last_step: Option<usize>,
    last_epoch: Option<usize>,
}

impl Recorder {
    fn record(&self, call: String, stop: bool) -> Result<ControlFlow<()>> {
        self.calls.borrow_mut().push(call);
        Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Callback for Recorder {
    fn on_fit_start(&mut self, plan: &FitPlan) -> Result<()> {
        let batches = plan.batches.unwrap_or(0);
        self.record(format!("start {} of {batches}", plan.epochs), false).map(|_| ())
    }

    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        let stop = self.last_step.is_some_and(|last| step.step >= last);
        self.record(format!("{}.{}: {}", step.epoch, step.batch, step.step), stop)
    }

    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        let stop = self.last_epoch.is_some_and(|last| epoch.epoch >= last);
        self.record(format!("epoch {}", epoch.epoch), stop)
    }

    fn on_fit_end(&mut self, history: &History) -> Result<()> {
        self.record(format!("end {:?}", history.stop()), false).map(|_| ())
    }
}

#[test]
fn callbacks_see_every_step_and_can_stop_training() -> Result<()> {
    let data = split(&numbers(6)?, &[2, 2, 2])?;
    let net = line()?;
    let calls = Rc::default();
    let fit = |recorder: Recorder, accumulate: usize| {
        let recorder = Recorder { calls: Rc::clone(&calls), ..recorder };
        let trainer = Trainer::new(&net, mse_loss, Sgd::new(1e-3)).quiet(true).callback(recorder);
        trainer.accumulate(accumulate).fit(&data, &(), Epochs(2))?;
        Ok::<_, Error>(calls.take())
    };
    let all = fit(Recorder::default(), 2)?;
    let expected =
        ["start 2 of 3", "1.1: 0", "1.2: 1", "1.3: 1", "epoch 1", "2.1: 2", "2.2: 3", "2.3: 3", "epoch 2"];
    assert_eq!(all[..9], expected);
    assert_eq!(all[9..], ["end Finished"]);
    let epoch = fit(Recorder { last_epoch: Some(1), ..Recorder::default() }, 1)?;
    assert_eq!(epoch[4..], ["epoch 1", "end Callback"]);
    let step = fit(Recorder { last_step: Some(2), ..Recorder::default() }, 1)?;
    assert_eq!(step, ["start 2 of 3", "1.1: 1", "1.2: 2", "end Callback"]);
    Ok(())
}

#[test]
fn settings_that_exclude_each_other_are_errors() -> Result<()> {
    let data = vec![numbers(4)?];
    let net = line()?;
    use sconce::train::optim::Lbfgs;
    let error =
        message(Trainer::new(&net, mse_loss, Lbfgs::new(1.)).clip_norm(1.).fit(&data, &(), Epochs(1)));
    assert!(error.starts_with("the optimizer evaluates the loss several times"), "{error}");
    let error = message(Trainer::new(&net, mse_loss, Sgd::new(1.)).accumulate(0).fit(&data, &(), Epochs(1)));
    assert_eq!(error, "accumulate: expected at least 1 batch for each step, found 0");
    let error = message(Trainer::new(&net, mse_loss, Sgd::new(1.)).ema(1.5).step(&data[0]));
    assert_eq!(error, "Ema: expected a decay between 0 and 1, found 1.5");
    let empty = (data[0].0.narrow(0, 0, 0)?, data[0].1.narrow(0, 0, 0)?);
    let error = message(Trainer::new(&net, mse_loss, Sgd::new(1.)).step(&empty));
    assert_eq!(error, "expected a batch with examples, found an empty batch");
    Ok(())
}
