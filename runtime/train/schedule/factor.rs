//! Schedules that multiply the base rate by a factor.

use crate::Result;

use super::{Schedule, require, setters, to_f64};

/// Multiplies the learning rate by `gamma` every `step_size` steps, like `torch.optim.lr_scheduler.StepLR`.
///
/// ```
/// use sconce::train::schedule::{Schedule, StepLr};
///
/// let schedule = StepLr::new(10).gamma(0.5);
/// assert_eq!([0, 9, 10, 20].map(|step| schedule.rate(1., step)), [1., 1., 0.5, 0.25]);
/// ```
#[derive(Clone, Debug)]
pub struct StepLr {
    step_size: usize,
    gamma: f64,
}

impl StepLr {
    /// Creates a schedule that divides the learning rate by 10 every `step_size` steps.
    pub fn new(step_size: usize) -> Self {
        Self { step_size, gamma: 0.1 }
    }
}

setters!(StepLr {
    /// Sets the factor, by default 0.1.
    gamma: f64,
});

impl Schedule for StepLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self.gamma.powf(to_f64(step / self.step_size.max(1)))
    }

    fn validate(&self) -> Result<()> {
        require(self.step_size > 0, "StepLr", "step_size cannot be 0")
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Multiplies the learning rate by `gamma` at each milestone, like `torch.optim.lr_scheduler.MultiStepLR`.
///
/// ```
/// use sconce::train::schedule::{MultiStepLr, Schedule};
///
/// let schedule = MultiStepLr::new([3, 10]).gamma(0.5);
/// assert_eq!([0, 2, 3, 10].map(|step| schedule.rate(1., step)), [1., 1., 0.5, 0.25]);
/// ```
#[derive(Clone, Debug)]
pub struct MultiStepLr {
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLr {
    /// Creates a schedule that divides the learning rate by 10 at each milestone. `milestones` may be in any order.
    pub fn new(milestones: impl Into<Vec<usize>>) -> Self {
        Self { milestones: milestones.into(), gamma: 0.1 }
    }
}

setters!(MultiStepLr {
    /// Sets the factor, by default 0.1.
    gamma: f64,
});

impl Schedule for MultiStepLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        base * self.gamma.powf(to_f64(passed))
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Multiplies the learning rate by `factor` for the first `total_iters` steps, like
/// `torch.optim.lr_scheduler.ConstantLR`.
///
/// ```
/// use sconce::train::schedule::{ConstantLr, Schedule};
///
/// let schedule = ConstantLr::new().factor(0.5).total_iters(2);
/// assert_eq!([0, 1, 2].map(|step| schedule.rate(1., step)), [0.5, 0.5, 1.]);
/// ```
#[derive(Clone, Debug)]
pub struct ConstantLr {
    factor: f64,
    total_iters: usize,
}

impl ConstantLr {
    /// Creates a schedule that uses a third of the base rate in the first 5 steps.
    pub fn new() -> Self {
        Self { factor: 1. / 3., total_iters: 5 }
    }
}

impl Default for ConstantLr {
    fn default() -> Self {
        Self::new()
    }
}

setters!(ConstantLr {
    /// Sets the factor, by default 1/3.
    factor: f64,
    /// Sets the number of steps, by default 5.
    total_iters: usize,
});

impl Schedule for ConstantLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        if step < self.total_iters { base * self.factor } else { base }
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Multiplies the learning rate by a factor that changes linearly from `start_factor` to `end_factor` in `total_iters`
/// steps, like `torch.optim.lr_scheduler.LinearLR`.
///
/// ```
/// use sconce::train::schedule::{LinearLr, Schedule};
///
/// let schedule = LinearLr::new().start_factor(0.5).total_iters(4);
/// assert_eq!([0, 2, 4, 9].map(|step| schedule.rate(1., step)), [0.5, 0.75, 1., 1.]);
/// ```
#[derive(Clone, Debug)]
pub struct LinearLr {
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl LinearLr {
    /// Creates a schedule that rises from a third of the base rate to the base rate in 5 steps.
    pub fn new() -> Self {
        Self { start_factor: 1. / 3., end_factor: 1., total_iters: 5 }
    }
}

impl Default for LinearLr {
    fn default() -> Self {
        Self::new()
    }
}

setters!(LinearLr {
    /// Sets the factor of the first step, by default 1/3.
    start_factor: f64,
    /// Sets the factor from step `total_iters` on, by default 1.
    end_factor: f64,
    /// Sets the number of steps, by default 5.
    total_iters: usize,
});

impl Schedule for LinearLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let progress = progress(step, self.total_iters);
        base * (self.start_factor + (self.end_factor - self.start_factor) * progress)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Multiplies the learning rate by `gamma` after every step, like `torch.optim.lr_scheduler.ExponentialLR`.
///
/// ```
/// use sconce::train::schedule::{ExponentialLr, Schedule};
///
/// let schedule = ExponentialLr::new(0.5);
/// assert_eq!([0, 1, 2].map(|step| schedule.rate(1., step)), [1., 0.5, 0.25]);
/// ```
#[derive(Clone, Debug)]
pub struct ExponentialLr {
    gamma: f64,
}

impl ExponentialLr {
    /// Creates a schedule with the factor `gamma`.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for ExponentialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self.gamma.powf(to_f64(step))
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Multiplies the learning rate by `(1 − step / total_iters)^power`, which is 0 from step `total_iters` on, like
/// `torch.optim.lr_scheduler.PolynomialLR`.
///
/// ```
/// use sconce::train::schedule::{PolynomialLr, Schedule};
///
/// let schedule = PolynomialLr::new().total_iters(4).power(2.);
/// assert_eq!([0, 2, 4].map(|step| schedule.rate(1., step)), [1., 0.25, 0.]);
/// ```
#[derive(Clone, Debug)]
pub struct PolynomialLr {
    total_iters: usize,
    power: f64,
}

impl PolynomialLr {
    /// Creates a schedule that decreases linearly to 0 in 5 steps.
    pub fn new() -> Self {
        Self { total_iters: 5, power: 1. }
    }
}

impl Default for PolynomialLr {
    fn default() -> Self {
        Self::new()
    }
}

setters!(PolynomialLr {
    /// Sets the number of steps, by default 5.
    total_iters: usize,
    /// Sets the power, by default 1.
    power: f64,
});

impl Schedule for PolynomialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * (1. - progress(step, self.total_iters)).powf(self.power)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Returns `step / total`, at most 1.
fn progress(step: usize, total: usize) -> f64 {
    if step >= total { 1. } else { to_f64(step) / to_f64(total) }
}
