//! The training loop.
//!
//! [`Trainer`] holds the settings (`settings.rs`) and the state of the run (`run.rs`). `step.rs` takes one step,
//! `epoch.rs` the steps of one epoch, and `fit.rs` runs and validates the epochs. `checkpoints.rs` decides when the
//! state is saved, `state.rs` converts it to and from a file, `files.rs` names the files, and `resume.rs` chooses one
//! to continue from. `log.rs` begins the log.

mod callback;
mod checkpoints;
mod distributed;
mod epoch;
mod files;
mod fingerprint;
mod fit;
mod gradients;
mod interrupt;
mod learning_rate;
mod log;
mod monitor;
mod non_finite;
mod on_epoch;
mod record;
mod resume;
mod run;
mod settings;
mod state;
mod step;
mod validation;

use std::sync::Arc;

use candle_core::Tensor;

use crate::module::{Forward, Module};
use crate::signal::IntoTensors;
use crate::{Error, Result};

use super::batch::Batch;
use super::data::Batches;
use super::distributed::{Distributed, Ranks};
use super::evaluate::{Evaluation, evaluate_with};
use super::log::LogSettings;
use super::loss::Loss;
use super::metrics::Metric;
use super::optim::Optimizer;
use super::progress::Verbosity;
use super::trainable::Trainable;

pub use callback::{Callback, FitPlan, StepReport};
use checkpoints::Checkpoints;
pub use files::{best_checkpoint, last_checkpoint};
pub use fit::Epochs;
pub use learning_rate::{IntoSchedule, LearningRate};
pub(super) use monitor::Monitor;
pub use monitor::Patience;
use run::Run;
use settings::{RunSettings, StepSettings, VERBOSE};
use step::Stepper;
pub use validation::Validation;

/// Trains a network with a loss, an optimizer and optional settings.
///
/// `O` is the type of the network's output with a tensor in place of each signal, and `T` is the type of the target of
/// a [`Batch`]. The compiler infers both.
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
///
/// Your own training loop can take the same steps:
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # manual_seed(0);
/// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// # let data = (x.clone(), ((x * 3.)? + 1.)?);
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).accumulate(2).clip_norm(10.).ema(0.9);
/// for _ in 0..200 {
///     for batch in data.epoch()? {
///         trainer.step(&batch?)?;
///     }
///     trainer.finish_epoch()?;
/// }
/// assert!(trainer.evaluate(&data)?.loss < 0.5); // the loss of the average
/// # Ok(())
/// # }
/// ```
pub struct Trainer<'a, M, O = Tensor, T = Tensor> {
    model: &'a M,
    optimizer: Box<dyn Optimizer + 'a>,
    step: StepSettings<'a, O, T>,
    run_settings: RunSettings,
    metrics: Vec<Box<dyn Metric<O, T> + 'a>>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    verbosity: Verbosity,
    checkpoints: Option<Checkpoints>,
    resume: bool,
    log: LogSettings,
    distributed: Option<Distributed>,
    /// The other ranks of a distributed training, once the trainer is connected to them.
    ranks: Option<Arc<Ranks>>,
    /// The state of the run, or `None` before the first step.
    run: Option<Run<M>>,
}

impl<'a, M: Module, O: 'static, T: 'static> Trainer<'a, M, O, T> {
    /// Creates a trainer for a network. `loss` compares the output of the network with the target of a batch.
    pub fn new(model: &'a M, loss: impl Loss<O, T> + 'a, optimizer: impl Optimizer + 'a) -> Self {
        Self::boxed(model, Box::new(loss), Box::new(optimizer))
    }

    fn boxed(model: &'a M, loss: Box<dyn Loss<O, T> + 'a>, optimizer: Box<dyn Optimizer + 'a>) -> Self {
        Self {
            model,
            optimizer,
            step: StepSettings::new(loss),
            run_settings: RunSettings::default(),
            metrics: Vec::new(),
            callbacks: Vec::new(),
            verbosity: VERBOSE,
            checkpoints: None,
            resume: false,
            log: LogSettings::default(),
            distributed: None,
            ranks: None,
            run: None,
        }
    }

    /// Trains on one batch, as [`fit`](Self::fit) does: runs the network in [`Mode::Train`](crate::Mode::Train),
    /// computes the loss and its gradients, and updates the parameters. With [`accumulate(n)`](Self::accumulate), only
    /// every n-th call updates the parameters.
    ///
    /// The first call creates the optimizer. After a call of `fit` without [`keep_best`](Self::keep_best), this method
    /// continues with the optimizer of that call. Metrics, callbacks, checkpoints, the log, early stopping and
    /// [`ReduceLrOnPlateau`](crate::train::schedule::ReduceLrOnPlateau) are not used.
    ///
    /// # Errors
    /// Fails under the same conditions as [`fit`](Self::fit), and if `batch` has no examples. On a GPU, a loss that is
    /// NaN or infinite is not an error.
    pub fn step<B>(&mut self, batch: &B) -> Result<StepReport>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        let result = self.take_step(batch);
        self.stop_on_error(result)
    }

    fn take_step<B>(&mut self, batch: &B) -> Result<StepReport>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        if batch.examples() == 0 {
            return Err(Error::msg("expected a batch with examples, found an empty batch"));
        }
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.new_run(self.run_settings.total_steps, None)?,
        };
        let stepped = match self.ranks.clone() {
            Some(ranks) => self.step_on_ranks(&mut run, &ranks, batch),
            None => run.stepper.step(self.model, &self.step, batch),
        };
        self.run = Some(run);
        Ok(stepped?.report)
    }

    /// Stops all ranks of a distributed training if `result` is an error.
    fn stop_on_error<R>(&self, result: Result<R>) -> Result<R> {
        match &self.ranks {
            Some(ranks) => ranks.stop_on_error(result),
            None => result,
        }
    }

    /// Ends an epoch of your own training loop: takes a step with the gradients that are still accumulated, and
    /// advances schedules that count epochs.
    ///
    /// # Errors
    /// Fails if the step fails.
    pub fn finish_epoch(&mut self) -> Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let flushed = match (&self.ranks, run.stepper.has_accumulated()) {
            (Some(ranks), true) => ranks.stop_on_error(run.stepper.flush_on_ranks(self.model, &self.step)),
            _ => run.stepper.flush(self.model, &self.step),
        };
        flushed?;
        run.stepper.epochs += 1;
        run.stepper.batches = 0;
        Ok(())
    }

    /// Returns the network with averaged weights, or `None` without [`ema`](Self::ema) or before the first step.
    pub fn average(&self) -> Option<&M> {
        self.run.as_ref()?.stepper.average.as_ref().map(|average| average.network())
    }

    /// Returns the loss and the metrics on `data`, and the accuracy if the targets are class indices. Runs the network
    /// in [`Mode::Eval`](crate::Mode::Eval) without recording a graph. Uses the [average](Self::average), if there is
    /// one. With [`distributed`](Self::distributed), each rank must call this method; each batch is evaluated by one
    /// rank.
    ///
    /// # Errors
    /// Fails if there are no examples, or if the data, the forward pass, the loss or a metric fails.
    pub fn evaluate<D>(&mut self, data: &D) -> Result<Evaluation>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let ranks = self.connect()?;
        let shared = self.share_network();
        self.stop_on_error(shared)?;
        let network = self.run.as_ref().map_or(self.model, |run| run.network(self.model));
        let result = evaluate_with(network, &*self.step.loss, &mut self.metrics, data, ranks.as_deref());
        self.stop_on_error(result)
    }

    /// Creates the state of a run. `steps` and `epochs` are the length of the run, as far as it is known.
    fn new_run(&mut self, steps: Option<usize>, epochs: Option<usize>) -> Result<Run<M>> {
        if let Some(learning_rate) = &mut self.step.learning_rate {
            learning_rate.begin(steps, epochs)?;
        }
        let ranks = self.connect()?;
        if let Some(ranks) = &ranks {
            self.begin_on_ranks(ranks)?;
        }
        let stepper = Stepper::new(self.model, &*self.optimizer, &self.step, ranks.as_ref())?;
        Run::new(stepper, self.step.learning_rate.as_ref(), self.resolved_monitor()?)
    }
}

impl<'a, M: Trainable> Trainer<'a, M> {
    /// Creates a trainer with the loss, the optimizer and the schedule of a [`Trainable`] network.
    pub(super) fn for_trainable(model: &'a M) -> Self {
        let loss = |output: &Tensor, target: &Tensor| model.loss(output, target);
        let mut trainer = Self::boxed(model, Box::new(loss), model.optimizer());
        trainer.step.learning_rate = model.schedule();
        trainer
    }
}
