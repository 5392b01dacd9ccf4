//! The training loop: forward, loss, backward and step for each batch, then validation.

use candle_core::Tensor;

use crate::module::Forward;
use crate::registry::Network;
use crate::signal::Signal;
use crate::{Error, Result};

use super::data::Batches;
use super::evaluate::{Evaluation, evaluate_with};
use super::history::{EpochReport, History};
use super::loss::Loss;
use super::optim::Optimizer;
use super::pass::Pass;
use super::progress::Verbosity;
use super::schedule::{Every, Schedule};
use super::snapshot::Snapshot;
use super::trainable::Trainable;

/// The number of passes over the training data.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// let history = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true).fit(&data, &(), Epochs(3))?;
/// assert_eq!(history.epochs().len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs(pub usize);

/// Optional validation data: a reference to [`Batches`], or `&()` for no validation.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Validation;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// assert_eq!((&data).batches().map(|batches| batches.len_hint()), Some(Some(1)));
/// assert!((&()).batches().is_none());
/// # Ok(())
/// # }
/// ```
pub trait Validation {
    /// Returns the batches, or `None` to skip validation.
    fn batches(&self) -> Option<&dyn Batches>;
}

impl<B: Batches> Validation for &B {
    fn batches(&self) -> Option<&dyn Batches> {
        Some(*self)
    }
}

impl Validation for &() {
    fn batches(&self) -> Option<&dyn Batches> {
        None
    }
}

impl<B: Batches> Validation for Option<&B> {
    fn batches(&self) -> Option<&dyn Batches> {
        self.map(|batches| batches as &dyn Batches)
    }
}

/// Trains a network with a loss, an optimizer and optional settings.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// sconce::manual_seed(0);
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// let data = (x.clone(), ((x * 3.)? + 1.)?);
/// let history =
///     Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true).fit(&data, &(), Epochs(200))?;
/// assert!(history.best().is_some_and(|epoch| epoch.train.loss < 1e-6));
/// # Ok(())
/// # }
/// ```
pub struct Trainer<'a, M> {
    pub(super) model: &'a M,
    pub(super) loss: Box<dyn Loss + 'a>,
    optimizer: Box<dyn Optimizer + 'a>,
    pub(super) schedule: Option<(Box<dyn Schedule + 'a>, Every)>,
    keep_best: bool,
    pub(super) allow_non_finite: bool,
    pub(super) verbosity: Verbosity,
    on_epoch: Option<OnEpoch<'a>>,
}

type OnEpoch<'a> = Box<dyn FnMut(&EpochReport) + 'a>;

impl<'a, M: Forward<Signal, Output = Signal>> Trainer<'a, M> {
    /// Creates a trainer for any network with one input and one output.
    pub fn new(model: &'a M, loss: impl Loss + 'a, optimizer: impl Optimizer + 'a) -> Self {
        Self::boxed(model, Box::new(loss), Box::new(optimizer))
    }

    /// Creates a trainer with the loss, the optimizer and the schedule of a [`Trainable`] network.
    pub(super) fn of(model: &'a M) -> Self
    where
        M: Trainable,
    {
        let loss = |output: &Tensor, target: &Tensor| model.loss(output, target);
        let schedule = model.schedule().map(|(schedule, every)| (schedule as Box<dyn Schedule + 'a>, every));
        Self { schedule, ..Self::boxed(model, Box::new(loss), model.optimizer()) }
    }

    fn boxed(model: &'a M, loss: Box<dyn Loss + 'a>, optimizer: Box<dyn Optimizer + 'a>) -> Self {
        Self {
            model,
            loss,
            optimizer,
            schedule: None,
            keep_best: false,
            allow_non_finite: false,
            verbosity: Verbosity { bar: true, lines: true },
            on_epoch: None,
        }
    }

    /// Sets the loss: a function such as `cross_entropy`, or a value such as `CrossEntropyLoss::new().ignore_index(0)`.
    pub fn loss(mut self, loss: impl Loss + 'a) -> Self {
        self.loss = Box::new(loss);
        self
    }

    /// Sets the optimizer.
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'a) -> Self {
        self.optimizer = Box::new(optimizer);
        self
    }

    /// Sets the learning-rate schedule and whether it advances every batch or every epoch. By default the
    /// learning rate is constant.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
    /// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
    /// # let data = (x.clone(), ((x * 3.)? + 1.)?);
    /// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true);
    /// trainer = trainer.schedule(StepLr::new(10).gamma(0.5), Every::Epoch);
    /// let history = trainer.fit(&data, &(), Epochs(20))?;
    /// assert_eq!(history.last().map(|epoch| epoch.learning_rate), Some(0.025));
    /// # Ok(())
    /// # }
    /// ```
    pub fn schedule(mut self, schedule: impl Schedule + 'a, every: Every) -> Self {
        self.schedule = Some((Box::new(schedule), every));
        self
    }

    /// Sets whether to restore the state of the best epoch when training ends. Default: `false`. The best epoch has
    /// the lowest validation loss, or the lowest training loss if there is no validation data.
    pub fn keep_best(mut self, keep: bool) -> Self {
        self.keep_best = keep;
        self
    }

    /// Sets whether to continue training if a loss is NaN or infinite, as PyTorch does. Default: `false`, so that
    /// [`fit`](Self::fit) returns an error. On the CPU, `fit` returns the error before the optimizer takes a step
    /// with that loss. On a GPU, losses are read only every 32 batches, because reading synchronizes the GPU. The error
    /// is then returned after up to 32 more steps.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    /// Sets whether to show a progress bar for each epoch. Default: `true`. The bar is only shown if standard error
    /// is a terminal.
    pub fn progress(mut self, show: bool) -> Self {
        self.verbosity.bar = show;
        self
    }

    /// Sets whether to suppress all output. Default: `false`, so that [`fit`](Self::fit) writes one line per epoch to
    /// standard error.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.verbosity.lines = !quiet;
        self
    }

    /// Calls `f` with the report of each epoch.
    pub fn on_epoch(mut self, f: impl FnMut(&EpochReport) + 'a) -> Self {
        self.on_epoch = Some(Box::new(f));
        self
    }

    /// Returns the loss on `data`, and the accuracy if the targets are class indices. Runs the network in
    /// [`Mode::Eval`](crate::Mode::Eval) without recording a graph.
    ///
    /// # Errors
    /// Fails if there are no examples, or if the data, the forward pass or the loss fails.
    pub fn evaluate(&self, data: &impl Batches) -> Result<Evaluation> {
        evaluate_with(self.model, &*self.loss, data)
    }

    /// Trains the network on `train` and evaluates it on `valid` after each epoch. Pass `&()` as `valid` to
    /// skip validation.
    ///
    /// For each batch, runs the network in [`Mode::Train`](crate::Mode::Train), computes the loss and its gradients,
    /// and updates the [trainable parameters](Network::trainable_parameters) with the optimizer. Each call starts
    /// with a new optimizer and restarts the schedule.
    ///
    /// After the first backward pass, parameters without a gradient are named in a warning and in
    /// [`History::unreached`]; see [`audit_gradients`](super::audit_gradients).
    ///
    /// Parameters and running statistics are updated in place, so networks that share their storage see the
    /// updates. After an error, parameters keep the values of the last completed step.
    ///
    /// # Errors
    /// Fails if there is no trainable parameter, if the loss depends on no parameter, if a data set is empty, or if the
    /// loss is not a finite scalar. Also returns the errors of the network, the loss, the optimizer, the schedule and
    /// the data.
    pub fn fit(&mut self, train: &impl Batches, valid: impl Validation, epochs: Epochs) -> Result<History> {
        let parameters = self.model.trainable_parameters();
        if parameters.is_empty() {
            let message = format!("this {} has no trainable parameter", self.model.kind());
            return Err(Error::msg(message));
        }
        if let Some((schedule, _)) = &self.schedule {
            schedule.validate()?;
        }
        let trainable = parameters.len();
        let mut optimizer = self.optimizer.build(parameters)?;
        let base_rates = &optimizer.learning_rates();
        let mut steps = 0;
        let mut history = History::default();
        let mut best = None;
        for epoch in 1..=epochs.0 {
            let pass = Pass { trainer: self, trainable, base_rates, epoch, epochs: epochs.0 };
            let trained = pass.train(&mut *optimizer, train, &mut steps, &mut history.unreached)?;
            let report = pass.report(trained, optimizer.learning_rate(), valid.batches())?;
            if self.keep_best && report.beats(history.best()) {
                best = Some(Snapshot::take(self.model)?);
            }
            history.epochs.push(report);
            self.verbosity.line(report);
            if let Some(on_epoch) = &mut self.on_epoch {
                on_epoch(&report);
            }
        }
        if let Some(best) = best {
            best.restore()?;
        }
        Ok(history)
    }
}
