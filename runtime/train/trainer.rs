//! The training loop: batches, forward, loss, backward, step, and a look at the validation data.

use candle_core::Tensor;

use super::data::Batches;
use super::evaluate::{Evaluation, measure};
use super::history::{EpochReport, History};
use super::loss::Loss;
use super::optim::Optimizer;
use super::pass::Pass;
use super::progress::Verbosity;
use super::schedule::{Every, Schedule};
use super::snapshot::Snapshot;
use super::trainable::Trainable;
use crate::module::Forward;
use crate::registry::Network;
use crate::signal::Signal;
use crate::{Error, Result};

/// How many times a run goes through its training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs(pub usize);

/// What may stand for the validation data: a reference to batches, or `&()` for none.
pub trait Validation {
    /// Returns the batches, or `None` to train without validation data.
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

/// Trains a network: its loss, its optimiser, and how the run is to go.
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
    /// A trainer of any network from one signal to one signal.
    pub fn new(model: &'a M, loss: impl Loss + 'a, optimizer: impl Optimizer + 'a) -> Self {
        Self::boxed(model, Box::new(loss), Box::new(optimizer))
    }

    /// A trainer with the loss and the optimiser that the network brings along.
    pub(super) fn of(model: &'a M) -> Self
    where
        M: Trainable,
    {
        let loss = |output: &Tensor, target: &Tensor| model.loss(output, target);
        Self::boxed(model, Box::new(loss), model.optimizer())
    }

    fn boxed(model: &'a M, loss: Box<dyn Loss + 'a>, optimizer: Box<dyn Optimizer + 'a>) -> Self {
        let verbosity = Verbosity { bar: true, lines: true };
        let (schedule, on_epoch) = (None, None);
        Self {
            model,
            loss,
            optimizer,
            schedule,
            keep_best: false,
            allow_non_finite: false,
            verbosity,
            on_epoch,
        }
    }

    /// What to lower: a function like `cross_entropy`, or a configured `CrossEntropyLoss::new()…`.
    pub fn loss(mut self, loss: impl Loss + 'a) -> Self {
        self.loss = Box::new(loss);
        self
    }

    /// What to lower it with.
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'a) -> Self {
        self.optimizer = Box::new(optimizer);
        self
    }

    /// How the learning rate changes, from batch to batch or from epoch to epoch; by default it stays.
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

    /// Whether the network ends as it was after its best epoch, the one with the least validation loss
    /// (without validation: training loss), and not after its last; by default not.
    pub fn keep_best(mut self, keep: bool) -> Self {
        self.keep_best = keep;
        self
    }

    /// Whether training goes on where a batch's loss is NaN or infinite, as PyTorch does; by default it
    /// stops with an error: on the CPU before the step that would have spoilt the parameters; on a GPU, where
    /// losses are read every 32 batches so that it never waits, up to so many steps after it.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    /// Whether a bar shows how far an epoch is; by default where the standard error is a terminal.
    pub fn progress(mut self, show: bool) -> Self {
        self.verbosity.bar = show;
        self
    }

    /// Whether nothing at all is written; by default there is a line an epoch on the standard error.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.verbosity.lines = !quiet;
        self
    }

    /// Calls `f` with the report of each epoch.
    pub fn on_epoch(mut self, f: impl FnMut(&EpochReport) + 'a) -> Self {
        self.on_epoch = Some(Box::new(f));
        self
    }

    /// The loss, and the accuracy where there are classes, on `data`: in evaluation mode, without a graph.
    pub fn evaluate(&self, data: &impl Batches) -> Result<Evaluation> {
        measure(self.model, &*self.loss, data)
    }

    /// Trains the network on `train` and, after each epoch, measures it on `valid` (`&()`: on nothing).
    ///
    /// Each step is a forward pass in [`Mode::Train`](crate::Mode::Train), the loss, its gradients, and a step of the
    /// optimiser over the [trainable parameters](Network::trainable_parameters); the optimiser and the
    /// schedule start afresh at each call. At the first step, parameters that no gradient reached are named
    /// in a warning and in [`History::unreached`]: see [`audit_gradients`](super::audit_gradients). Parameters and running statistics change in place, so that every twin of the
    /// network sees them. After an error they are as the last whole step left them.
    ///
    /// # Errors
    /// No trainable parameter or none that the loss reaches, no example in a set, a loss that is not a
    /// scalar or not finite, and whatever the network, the loss, the optimiser, the schedule or the data
    /// report.
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
        let (base, mut steps) = (optimizer.learning_rate(), 0);
        let mut history = History::default();
        let mut best = None;
        for epoch in 1..=epochs.0 {
            let pass = Pass { trainer: self, trainable, base, epoch, epochs: epochs.0 };
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
