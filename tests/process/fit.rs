//! `fit` on networks written by hand: learning, keeping the best epoch, and error messages.

use std::borrow::Cow;
use std::sync::Mutex;

use sconce::prelude::*;
use sconce::train::data::from_fn;
use sconce::train::{EpochReport, Evaluation, last_checkpoint};
use sconce::{Visitor, VisitorMut, random};
use tempfile::TempDir;

use crate::common::message;
use crate::passed_in_own_process;

const CPU: Device = Device::Cpu;

/// Calls `manual_seed(seed)` and then `test`, in a process of its own.
fn seeded(seed: u64, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    manual_seed(seed);
    test()
}

/// Two layers with batch norm and dropout between them.
struct Net {
    hidden: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

impl Net {
    fn new() -> Result<Self> {
        Ok(Self {
            hidden: Linear::config(2, 32).init(&CPU)?,
            norm: BatchNorm::config(32).init(&CPU)?,
            dropout: Dropout::config(0.1).init(&CPU)?,
            head: Linear::config(32, 2).init(&CPU)?,
        })
    }

    fn buffer(&self, name: &str) -> Result<Vec<f32>> {
        let buffers: Vec<_> = self.buffers().into_iter().filter(|(path, _)| path == name).collect();
        Ok(buffers[0].1.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// Returns the parameters and buffers of the network.
    fn state(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let flat = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        self.state_dict().iter().map(|(name, tensor)| Ok((name.to_string(), flat(tensor)?))).collect()
    }
}

impl Module for Net {
    fn kind(&self) -> Cow<'static, str> {
        "Net".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("hidden", &self.hidden);
        visitor.child("norm", &self.norm);
        visitor.child("dropout", &self.dropout);
        visitor.child("head", &self.head);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.child("hidden", &mut self.hidden);
        visitor.child("norm", &mut self.norm);
        visitor.child("dropout", &mut self.dropout);
        visitor.child("head", &mut self.head);
    }

    fn share(&self) -> Self {
        let (hidden, norm) = (self.hidden.share(), self.norm.share());
        Self { hidden, norm, dropout: self.dropout.share(), head: self.head.share() }
    }
}

impl Forward for Net {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let x = relu(self.norm.call(self.hidden.call(x, mode), mode));
        self.head.call(self.dropout.call(x, mode), mode)
    }
}

impl Trainable for Net {
    fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
        cross_entropy(output, target)
    }

    fn optimizer(&self) -> Box<dyn Optimizer> {
        Box::new(AdamW::new(1e-2))
    }
}

/// Returns random points around the origin. The class of a point is 1 if its coordinates have the same sign, and
/// otherwise 0.
fn quadrants(n: usize) -> Result<(Tensor, Tensor)> {
    let x = random::uniform((n, 2), -1., 1., DType::F32, &CPU)?;
    // Points are moved away from the axes, so that the classes are separable.
    let x = (&x + (x.sign()? * 0.2)?)?;
    let y = (x.narrow(1, 0, 1)? * x.narrow(1, 1, 1)?)?.gt(0f32)?.squeeze(1)?.to_dtype(DType::U32)?;
    Ok((x, y))
}

fn losses(history: &History) -> Vec<(f64, f64)> {
    history.epochs().iter().map(|e| (e.train.loss, e.valid.as_ref().unwrap().loss)).collect()
}

#[test]
fn a_network_written_by_hand_learns_reproducibly() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let learn = |seed| -> Result<_> {
        manual_seed(seed);
        let (train, valid, model) = (quadrants(512)?, quadrants(256)?, Net::new()?);
        let mut reports = Vec::new();
        let mut trainer = model.trainer().quiet(true).on_epoch(|report| reports.push(report.clone()));
        let history = trainer.fit(&train, &valid, Epochs(12))?;
        let evaluation = trainer.evaluate(&valid)?;
        drop(trainer);
        assert_eq!(reports, history.epochs());
        let last = history.last().unwrap();
        let valid_of_last = last.valid.as_ref().unwrap();
        assert!(valid_of_last.accuracy.unwrap() > 0.95, "{history}");
        // Every evaluation shuffles the validation data, so the losses may differ by rounding errors.
        assert_eq!(evaluation.accuracy, valid_of_last.accuracy);
        assert!((evaluation.loss - valid_of_last.loss).abs() < 1e-6);
        assert_eq!(model.evaluate(&valid)?.accuracy, evaluation.accuracy);
        assert_eq!((last.epoch, last.train.examples, evaluation.examples), (12, 512, 256));
        assert!(last.seconds > 0. && last.examples_per_second > 0.);
        assert!(history.unreached().is_empty());
        Ok((losses(&history), model.state()?))
    };
    let first = learn(3)?;
    assert_eq!(first, learn(3)?, "the same seed should give the same run");
    assert_ne!(first.0, learn(4)?.0);
    Ok(())
}

#[test]
fn keep_best_restores_the_parameters_of_the_best_epoch() -> Result<()> {
    seeded(5, || {
        let (train, valid, model) = (quadrants(128)?, quadrants(64)?, Net::new()?);
        let valid = TensorDataset::new(valid.0, valid.1)?;
        let states = Mutex::new(Vec::new());
        // The learning rate is too large, so the last epochs are worse than the best epoch.
        let record = |_: &EpochReport| states.lock().unwrap().push(model.state().unwrap());
        let unstable = Sgd::new(3.).momentum(0.9);
        let mut trainer = model.trainer().quiet(true).optimizer(unstable).keep_best(true).on_epoch(record);
        let detached = model.detached();
        let history = trainer.fit(&train, &valid, Epochs(8))?;
        let best = history.best().unwrap();
        assert_ne!(best.epoch, 8, "{history}");
        assert!(history.epochs().iter().all(|e| best.loss() <= e.loss()));
        drop(trainer);
        let states = states.into_inner().unwrap();
        assert_eq!(model.state()?, states[best.epoch - 1]);
        assert_eq!(detached.state()?, states[best.epoch - 1], "the best state should be restored in place");
        assert_eq!(Some(model.evaluate(&valid)?), best.valid);
        assert_eq!(model.buffer("norm.num_batches_tracked")?, [2. * best.epoch as f32]);

        let last = model.trainer().quiet(true).optimizer(Sgd::new(3.)).fit(&train, &valid, Epochs(2))?;
        assert_eq!(
            Some(model.evaluate(&valid)?),
            last.last().unwrap().valid,
            "without keep_best, the last epoch should be kept"
        );
        Ok(())
    })
}

#[test]
fn training_updates_the_running_statistics_and_validation_does_not() -> Result<()> {
    seeded(6, || {
        let (data, model) = (quadrants(130)?, Net::new()?);
        let initial_mean = model.buffer("norm.running_mean")?;
        let before = model.evaluate(&data)?;
        assert_eq!(model.evaluate(&data)?.accuracy, before.accuracy, "evaluation should not apply dropout");
        assert_eq!(model.buffer("norm.running_mean")?, initial_mean);
        model.trainer().quiet(true).fit(&data, &data, Epochs(2))?;
        assert_ne!(model.buffer("norm.running_mean")?, initial_mean);
        assert_eq!(
            model.buffer("norm.num_batches_tracked")?,
            [6.],
            "only the three training batches of each epoch should count"
        );
        Ok(())
    })
}

#[test]
fn frozen_parameters_do_not_change() -> Result<()> {
    seeded(7, || {
        let (data, mut model) = (quadrants(64)?, Net::new()?);
        model.freeze("hidden.**")?;
        let before = model.state()?;
        model.trainer().quiet(true).fit(&data, &(), Epochs(1))?;
        for ((name, before), (_, after)) in before.into_iter().zip(model.state()?) {
            assert_eq!(before == after, name.starts_with("hidden"), "{name}");
        }
        model.freeze("**")?;
        assert_eq!(message(model.fit(&data, &(), Epochs(1))), "this Net has no trainable parameter");
        Ok(())
    })
}

#[test]
fn every_source_of_batches_can_train_a_network() -> Result<()> {
    seeded(8, || {
        let x = random::normal((40, 1), 0., 1., DType::F32, &CPU)?;
        let y = ((&x * 2.)? - 1.)?;
        let two_batches: Vec<(Tensor, Tensor)> =
            vec![(x.narrow(0, 0, 20)?, y.narrow(0, 0, 20)?), (x.narrow(0, 20, 20)?, y.narrow(0, 20, 20)?)];
        let source = two_batches.clone();
        let generated = from_fn(move || source.clone().into_iter().map(Ok));
        let set = TensorDataset::new(x.clone(), y.clone())?.batch_size(20).shuffle(true);
        let boxed_empty: Box<dyn Batches<Batch = (Tensor, Tensor)>> =
            Box::new((x.narrow(0, 0, 0)?, y.narrow(0, 0, 0)?));
        let mut with_empty = two_batches.clone();
        with_empty.insert(0, (x.narrow(0, 0, 0)?, y.narrow(0, 0, 0)?));
        let line = || Linear::config(1, 1).init(&CPU);
        let assert_fitted = |history: History, examples: usize| {
            let last = history.last().unwrap();
            assert!(last.train.loss < 1e-4 && last.train.accuracy.is_none(), "{history}");
            assert_eq!(last.train.examples, examples);
        };
        let epochs = Epochs(60);
        let mse = MseLoss::new;
        assert_fitted(
            Trainer::new(&line()?, mse(), Sgd::new(0.1)).quiet(true).fit(&two_batches, &(), epochs)?,
            40,
        );
        assert_fitted(
            Trainer::new(&line()?, mse(), Sgd::new(0.1)).quiet(true).fit(&with_empty, &(), epochs)?,
            40,
        );
        assert_fitted(
            Trainer::new(&line()?, mse_loss, Sgd::new(0.1)).quiet(true).fit(
                &generated,
                Some(&set),
                epochs,
            )?,
            40,
        );
        assert_fitted(
            Trainer::new(&line()?, mse_loss, Adam::new(0.1)).quiet(true).fit(&set, &two_batches, epochs)?,
            40,
        );
        let model = line()?;
        let empty =
            Trainer::new(&model, mse_loss, Sgd::new(0.1)).quiet(true).fit(&boxed_empty, &(), Epochs(1));
        assert_eq!(message(empty), "the training data has no examples");
        let empty =
            Trainer::new(&model, mse_loss, Sgd::new(0.1)).quiet(true).fit(&set, &boxed_empty, Epochs(1));
        assert_eq!(message(empty), "the evaluation data has no examples");
        let no_epochs = Trainer::new(&model, mse_loss, Sgd::new(0.1)).fit(&set, &(), Epochs(0))?;
        assert!(no_epochs.epochs().is_empty() && no_epochs.best().is_none());
        Ok(())
    })
}

#[test]
fn a_loss_that_is_not_finite_stops_training_unless_allowed() -> Result<()> {
    seeded(9, || {
        let x = Tensor::ones((2, 1), DType::F32, &CPU)?;
        let data_with_nan = vec![(x.clone(), x.clone()), (x.clone(), (&x * f64::NAN)?)];
        let line = Linear::config(1, 1).init(&CPU)?;
        let weight = |line: &Linear| line.weight().flatten_all()?.to_vec1::<f32>();
        let error = message(Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).fit(
            &data_with_nan,
            &(),
            Epochs(3),
        ));
        let start =
            "step 2 (epoch 1, batch 2): the loss is NaN; the output of the network is finite, but the result";
        assert!(error.starts_with(start), "{error}");
        assert!(weight(&line)?[0].is_finite());
        let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.1)).quiet(true).allow_non_finite(true);
        let history = trainer.fit(&data_with_nan, &(), Epochs(1))?;
        assert!(history.last().unwrap().train.loss.is_nan() && history.best().is_none());
        assert!(weight(&line)?[0].is_nan());
        Ok(())
    })
}

#[test]
fn the_error_of_a_loss_that_is_not_finite_names_its_origin() -> Result<()> {
    seeded(12, || {
        let (data, model) = (quadrants(64)?, Net::new()?);
        let directory = tempfile::tempdir()?;
        let fit = |data: &(Tensor, Tensor)| {
            let trainer = model.trainer().quiet(true).checkpoint(directory.path(), Every::Epoch).resume();
            message({ trainer }.fit(data, &(), Epochs(3)))
        };
        model.trainer().quiet(true).checkpoint(directory.path(), Every::Epoch).fit(&data, &(), Epochs(2))?;
        // With an infinite weight, the norm is the first layer whose output is not finite.
        let path = "norm.weight";
        let (_, weight) = model
            .trainable_parameters()
            .into_iter()
            .find(|(name, _)| name == path)
            .expect("`norm.weight` should be trainable");
        let assert_names = |error: &str, layer: &str| {
            assert!(
                error.starts_with("step 3 (epoch 3, batch 1): the loss is NaN; the first layer"),
                "{error}"
            );
            assert!(
                error.contains(&format!("non-finite output is `{layer}` (the output contains ")),
                "{error}"
            );
            assert!(error.contains("-epoch-2"), "{error}");
        };
        let saved = last_checkpoint(directory.path())?.expect("two epochs were saved");
        let state = sconce::checkpoint::read(&saved, &CPU)?;
        assert!(state.contains_key("model.norm.weight"));
        // A callback damages the weight after the state was restored.
        let damage = Damage(weight.clone());
        let mut trainer = model.trainer().quiet(true).checkpoint(directory.path(), Every::Epoch).resume();
        trainer = trainer.callback(damage);
        assert_names(&message(trainer.fit(&data, &(), Epochs(3))), "Net.norm");
        let input = ((&data.0 * f64::INFINITY)?, data.1.clone());
        let error = fit(&input);
        assert!(
            error.contains("the loss is NaN; the input of the network is not finite; the last"),
            "{error}"
        );
        Ok(())
    })
}

#[test]
fn parameters_that_are_not_finite_are_not_saved() -> Result<()> {
    seeded(13, || {
        let (x, line) = (Tensor::ones((2, 1), DType::F32, &CPU)?, Linear::config(1, 1).init(&CPU)?);
        let data = vec![(x.clone(), x)];
        // The loss is zero, and its gradient is infinite.
        let sqrt = |y: &Tensor, _: &Tensor| Ok(y.sqrt()?.mean_all()?);
        let trainer = |directory: &TempDir| {
            Trainer::new(&line, sqrt, Sgd::new(0.1)).quiet(true).checkpoint(directory.path(), Every::Steps(1))
        };
        for (_, parameter) in line.trainable_parameters() {
            parameter.set(&parameter.zeros_like()?)?;
        }
        let directory = tempfile::tempdir()?;
        let error = message(trainer(&directory).fit(&data, &(), Epochs(1)));
        let expected =
            "step 1: the parameter `weight` is NaN or infinite after the step, so no checkpoint was saved; a";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(last_checkpoint(directory.path())?, None);

        let directory = tempfile::tempdir()?;
        trainer(&directory).allow_non_finite(true).fit(&data, &(), Epochs(1))?;
        assert!(last_checkpoint(directory.path())?.is_some());
        Ok(())
    })
}

/// Sets a parameter to infinity before the first step.
struct Damage(sconce::candle::Var);

impl sconce::train::Callback for Damage {
    fn on_fit_start(&mut self, _: &sconce::train::FitPlan) -> Result<()> {
        Ok(self.0.set(&(self.0.as_tensor() * f64::INFINITY)?)?)
    }
}

/// Measures the allocated memory after every 500th step.
struct Memory<'a>(&'a Mutex<Vec<usize>>);

impl sconce::train::Callback for Memory<'_> {
    fn on_step(&mut self, step: &sconce::train::StepReport) -> Result<std::ops::ControlFlow<()>> {
        if step.step.is_multiple_of(500) {
            self.0.lock().unwrap().push(crate::MEMORY.current_usage());
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

#[test]
fn the_memory_of_training_is_constant() -> Result<()> {
    seeded(13, || {
        let data = TensorDataset::new(
            Tensor::ones((128, 2), DType::F32, &CPU)?,
            Tensor::zeros(128, DType::U32, &CPU)?,
        )?;
        let (data, model) = (data.batch_size(2), Net::new()?);
        let usage = Mutex::new(Vec::new());
        let trainer =
            model.trainer().quiet(true).accumulate(2).clip_norm(1.).ema(0.9).callback(Memory(&usage));
        // Two batches of two examples are accumulated for each step: 32 steps in each of 64 epochs.
        { trainer.metric(F1::macro_average()) }.fit(&data, &(), Epochs(64))?;
        let usage = usage.into_inner().unwrap();
        assert!(usage.len() >= 4, "{usage:?}");
        // Each epoch adds a report to the history. All reports together need less than 64 KiB.
        let reports = 64 * 1024;
        assert!(usage.iter().all(|bytes| bytes.abs_diff(usage[0]) < reports), "{usage:?}");
        Ok(())
    })
}

#[test]
fn parameters_without_a_gradient_are_reported() -> Result<()> {
    seeded(10, || {
        let (data, model) = (quadrants(64)?, Net::new()?);
        let attached_loss = |output: &Tensor, target: &Tensor| cross_entropy(&(output * 1.)?, target);
        let history =
            Trainer::new(&model, attached_loss, Sgd::new(0.1)).quiet(true).fit(&data, &(), Epochs(1))?;
        assert!(history.unreached().is_empty());
        let detached_body = DetachedBody(model);
        let history = Trainer::new(&detached_body, cross_entropy, Sgd::new(0.1)).quiet(true).fit(
            &data,
            &(),
            Epochs(1),
        )?;
        assert_eq!(history.unreached(), ["hidden.weight", "hidden.bias", "norm.weight", "norm.bias"]);
        let detached_loss = |output: &Tensor, target: &Tensor| cross_entropy(&output.detach(), target);
        let error = message(Trainer::new(&detached_body, detached_loss, Sgd::new(0.1)).quiet(true).fit(
            &data,
            &(),
            Epochs(1),
        ));
        assert!(error.starts_with("no parameter has a gradient"), "{error}");
        let per_example = CrossEntropyLoss::new().reduction(Reduction::None);
        let error = message(Trainer::new(&detached_body, per_example, Sgd::new(0.1)).quiet(true).fit(
            &data,
            &(),
            Epochs(1),
        ));
        assert!(error.starts_with("expected a scalar loss, found shape [64]"), "{error}");
        let (x, y) = (data.0.narrow(1, 0, 1)?, data.1);
        let error = message(detached_body.0.fit(&(x, y), &(), Epochs(1)));
        assert!(error.starts_with("at Net") && error.contains("[64, 1]"), "{error}");
        Ok(())
    })
}

/// A [`Net`] in which only the head learns: the output of the other layers is detached.
struct DetachedBody(Net);

impl Module for DetachedBody {
    fn kind(&self) -> Cow<'static, str> {
        "DetachedBody".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.0.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.0.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        Self(self.0.share())
    }
}

impl Forward for DetachedBody {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let x = relu(self.0.norm.call(self.0.hidden.call(x, mode), mode));
        self.0.head.call(x.map(|x| Ok::<_, Error>(x.detach())), mode)
    }
}

#[test]
fn a_history_prints_as_a_table() -> Result<()> {
    seeded(11, || {
        let (data, model) = (quadrants(64)?, Net::new()?);
        let history = model.trainer().progress(false).fit(&data, &data, Epochs(2))?;
        let table = history.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(words.join(" "), "epoch train loss accuracy valid loss accuracy seconds examples/s");
        assert_eq!(lines.iter().filter(|line| line.starts_with('*')).count(), 1);
        let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{table}");
        let first = &history.epochs()[0];
        let Evaluation { loss, accuracy, .. } = first.train;
        let start =
            format!("epoch 1  loss {loss:.4}  accuracy {:.2} %  validation loss", 100. * accuracy.unwrap());
        assert!(first.to_string().starts_with(&start), "{first}");
        let without_validation = model.trainer().quiet(true).fit(&data, &(), Epochs(1))?.to_string();
        assert!(without_validation.contains('–'), "{without_validation}");
        Ok(())
    })
}
