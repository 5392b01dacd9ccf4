//! PyTorch's learning-rate schedules, as pure functions of the step, and [`ReduceLrOnPlateau`], which depends on a
//! metric.
//!
//! [`rate(base, step)`](Schedule::rate) returns the learning rate of a step, counted from 0. `base` is the optimizer's
//! initial learning rate. In a [`Trainer`](crate::train::Trainer::schedule), a step is by default a step of the
//! optimizer. In `(StepLr::new(10), Every::Epoch)`, it is an epoch.
//!
//! ```
//! use sconce::train::schedule::{Schedule, StepLr};
//!
//! let schedule = StepLr::new(10).gamma(0.5);
//! assert_eq!([0, 9, 10, 20].map(|step| schedule.rate(0.1, step)), [0.1, 0.1, 0.05, 0.025]);
//! ```

mod cosine;
mod factor;
mod one_cycle;
mod plateau;
mod sequence;

use crate::{Error, Result};

use super::optim::setters;

pub use cosine::{Cosine, CosineAnnealingLr, CosineAnnealingWarmRestarts};
pub use factor::{ConstantLr, ExponentialLr, LinearLr, MultiStepLr, PolynomialLr, StepLr};
pub use one_cycle::{Anneal, OneCycleLr};
pub use plateau::{PlateauMode, ReduceLrOnPlateau, ThresholdMode};
pub use sequence::{ChainedLr, SequentialLr};

/// A learning-rate schedule.
///
/// A closure that maps the step to a factor of the base rate is also a schedule, like PyTorch's `LambdaLR`:
/// `|step: usize| 0.95f64.powf(step as f64)`.
///
/// ```
/// use sconce::train::schedule::Schedule;
///
/// let halve = |step: usize| 0.5f64.powf(step as f64);
/// assert_eq!([0, 1, 2].map(|step| halve.rate(0.1, step)), [0.1, 0.05, 0.025]);
/// ```
pub trait Schedule {
    /// Returns the learning rate of step `step`, counted from 0. `base` is the optimizer's initial learning rate.
    fn rate(&self, base: f64, step: usize) -> f64;

    /// Sets the number of steps of the run, for schedules such as [`Cosine`] that depend on it. The other schedules
    /// ignore it.
    fn set_total_steps(&mut self, steps: usize) {
        let _ = steps;
    }

    /// Describes the schedule in the [log](crate::train::log) of a run, by default with the name of its type.
    fn describe(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Fails if a setting is out of range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl<F: Fn(usize) -> f64> Schedule for F {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self(step)
    }
}

/// How often a schedule advances, or a checkpoint is saved.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// let trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true);
/// let history = trainer.schedule((ExponentialLr::new(0.5), Every::Epoch)).fit(&data, &(), Epochs(3))?;
/// let rates: Vec<f64> = history.epochs().iter().map(|epoch| epoch.learning_rate).collect();
/// assert_eq!(rates, [0.01, 0.005, 0.0025]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After each step of the optimizer.
    Step,
    /// After each epoch.
    Epoch,
    /// After this many steps of the optimizer.
    Steps(usize),
    /// After this many epochs.
    Epochs(usize),
}

impl Every {
    /// Returns how many intervals have passed after `steps` steps and `epochs` epochs.
    pub(super) fn count(self, steps: usize, epochs: usize) -> usize {
        match self {
            Self::Step => steps,
            Self::Epoch => epochs,
            Self::Steps(n) => steps / n.max(1),
            Self::Epochs(n) => epochs / n.max(1),
        }
    }

    /// Returns how many intervals a run of `steps` steps and `epochs` epochs has, or `None` if it is unknown. An
    /// incomplete last interval counts.
    pub(super) fn total(self, steps: Option<usize>, epochs: Option<usize>) -> Option<usize> {
        Some(match self {
            Self::Step => steps?,
            Self::Epoch => epochs?,
            Self::Steps(n) => steps?.div_ceil(n.max(1)),
            Self::Epochs(n) => epochs?.div_ceil(n.max(1)),
        })
    }

    /// Returns an error that names `setting` if the interval is 0.
    pub(super) fn validate(self, setting: &str) -> Result<()> {
        match self {
            Self::Steps(0) | Self::Epochs(0) => {
                Err(Error::msg(format!("{setting}: expected an interval of at least 1, found {self:?}")))
            }
            _ => Ok(()),
        }
    }
}

/// Returns an error with `message` that names `schedule`, unless `valid` is `true`.
fn require(valid: bool, schedule: &str, message: &str) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::msg(message).in_layer(schedule)) }
}

/// Converts a number of steps to `f64`.
fn to_f64(steps: usize) -> f64 {
    steps as f64
}
