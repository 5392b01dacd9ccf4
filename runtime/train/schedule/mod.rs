//! PyTorch's learning-rate schedules, as pure functions from the step to the rate.
//!
//! A schedule knows nothing of optimisers: [`rate(base, step)`](Schedule::rate) is the rate of a step,
//! counted from 0, where the optimiser began with the rate `base`. What a step is, a batch or an epoch,
//! is told to [`Trainer::schedule`](crate::train::Trainer::schedule).
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
mod sequence;

pub use cosine::{CosineAnnealingLr, CosineAnnealingWarmRestarts};
pub use factor::{ConstantLr, ExponentialLr, LinearLr, MultiStepLr, PolynomialLr, StepLr};
pub use one_cycle::{Anneal, OneCycleLr};
pub use sequence::SequentialLr;

use super::optim::setters;
use crate::{Error, Result};

/// A learning rate that changes as training goes on.
///
/// A function from the step to a factor of the base rate is one as well, PyTorch's `LambdaLR`:
/// `|step: usize| 0.95f64.powf(step as f64)`.
pub trait Schedule {
    /// The learning rate of step `step`, from 0, where the optimiser began with the rate `base`.
    fn rate(&self, base: f64, step: usize) -> f64;

    /// An error if a setting is out of its range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl<F: Fn(usize) -> f64> Schedule for F {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self(step)
    }
}

/// How often a schedule moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After each batch.
    Step,
    /// After each pass over the training data.
    Epoch,
}

/// An error that says what a setting of a schedule has to be, unless it is.
fn require(valid: bool, schedule: &str, what: &str) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::msg(what).in_layer(schedule)) }
}

/// A number of steps as an exponent or a share.
fn count(steps: usize) -> f64 {
    steps as f64
}
