//! User code that runs during training.

use std::ops::ControlFlow;

use candle_core::Tensor;

use crate::Result;
use crate::train::evaluate::Evaluation;
use crate::train::history::{EpochReport, History};
use crate::train::tally::scalar;

/// Code that runs during [`fit`](super::Trainer::fit), for example to log or to stop training. Every method has a
/// default that does nothing.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use sconce::prelude::*;
/// use sconce::train::{Callback, StepReport};
///
/// /// Stops when the loss of a step is below a limit.
/// struct Until(f64);
///
/// impl Callback for Until {
///     fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
///         Ok(if step.loss()? < self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # manual_seed(0);
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// let data = (x.clone(), (x * 3.)?);
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true).callback(Until(0.1));
/// assert!(trainer.fit(&data, &(), Epochs(1000))?.epochs().len() < 1000);
/// # Ok(())
/// # }
/// ```
pub trait Callback {
    /// Runs once, before the first step.
    ///
    /// # Errors
    /// An error ends training.
    fn on_fit_start(&mut self, plan: &FitPlan) -> Result<()> {
        let _ = plan;
        Ok(())
    }

    /// Runs after each batch. `ControlFlow::Break(())` stops training after this step.
    ///
    /// # Errors
    /// An error ends training.
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        let _ = step;
        Ok(ControlFlow::Continue(()))
    }

    /// Runs after each epoch and its validation. `ControlFlow::Break(())` stops training after this epoch.
    ///
    /// # Errors
    /// An error ends training.
    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        let _ = epoch;
        Ok(ControlFlow::Continue(()))
    }

    /// Runs once, after the last step.
    ///
    /// # Errors
    /// [`fit`](super::Trainer::fit) returns the error.
    fn on_fit_end(&mut self, history: &History) -> Result<()> {
        let _ = history;
        Ok(())
    }
}

/// The epochs and steps that a call of [`fit`](super::Trainer::fit) is going to run.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::{Callback, FitPlan};
///
/// struct Announce;
///
/// impl Callback for Announce {
///     fn on_fit_start(&mut self, plan: &FitPlan) -> Result<()> {
///         println!("epochs {} to {}", plan.finished_epochs + 1, plan.epochs);
///         Ok(())
///     }
/// }
/// # fn main() -> Result<()> {
/// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// # let data = (Tensor::ones((8, 1), DType::F32, &Device::Cpu)?, Tensor::ones((8, 1), DType::F32, &Device::Cpu)?);
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).quiet(true).callback(Announce);
/// trainer.fit(&data, &(), Epochs(3))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FitPlan {
    /// The number of epochs of the run.
    pub epochs: usize,
    /// The number of epochs that earlier calls finished: 0 unless this call resumes a run.
    pub finished_epochs: usize,
    /// The number of batches of an epoch, or `None` if it is unknown.
    pub batches: Option<usize>,
}

/// The result of one batch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05));
/// let report = trainer.step(&(x.clone(), x))?;
/// assert_eq!((report.step, report.examples, report.updated), (1, 8, true));
/// assert!(report.loss()?.is_finite());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepReport {
    /// The number of the epoch, starting at 1.
    pub epoch: usize,
    /// The number of the batch in its epoch, starting at 1.
    pub batch: usize,
    /// The number of optimizer steps in all epochs so far, including this one.
    pub step: usize,
    /// Whether the optimizer took a step. `false` if [accumulation](super::Trainer::accumulate) waits for more batches,
    /// or if a gradient in [f16](super::Trainer::precision) is not finite.
    pub updated: bool,
    /// The number of examples of the batch.
    pub examples: usize,
    /// The learning rate of the parameters that belong to no [group](crate::train::Optimizer::group).
    pub learning_rate: f64,
    /// The norm of the gradients before [clipping](super::Trainer::clip_norm), if it was computed.
    pub gradient_norm: Option<f64>,
    /// The mean loss of this epoch so far. On a GPU, the losses of the newest batches are missing, because they have
    /// not been read yet. `None` in your own training loop.
    pub epoch_loss: Option<f64>,
    /// The loss, the accuracy and the metrics of this epoch so far, for display. They are computed at most five times
    /// per second; after the other batches, the field is `None`. It is always `None` without
    /// [progress](super::Trainer::progress) and in your own training loop.
    pub running: Option<Evaluation>,
    /// The loss of the batch, a scalar on the network's device.
    pub(super) loss: Tensor,
}

impl StepReport {
    /// Returns the loss of the batch, computed before the parameters were updated. On a GPU, this waits for the GPU to
    /// finish the step.
    ///
    /// # Errors
    /// Fails if the loss cannot be read from the device.
    pub fn loss(&self) -> Result<f64> {
        scalar(&self.loss)
    }
}
