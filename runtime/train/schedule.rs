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

use std::f64::consts::PI;
use std::fmt::Debug;

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

/// Times `gamma` after every `step_size` steps, as `torch.optim.lr_scheduler.StepLR`.
#[derive(Clone, Debug)]
pub struct StepLr {
    step_size: usize,
    gamma: f64,
}

impl StepLr {
    /// A rate that falls to a tenth after every `step_size` steps.
    pub fn new(step_size: usize) -> Self {
        Self { step_size, gamma: 0.1 }
    }
}

setters!(StepLr {
    /// The factor, by default 0.1.
    gamma: f64,
});

impl Schedule for StepLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self.gamma.powf(count(step / self.step_size.max(1)))
    }

    fn validate(&self) -> Result<()> {
        require(self.step_size > 0, "StepLr", "step_size cannot be 0")
    }
}

/// Times `gamma` at each milestone, as `torch.optim.lr_scheduler.MultiStepLR`.
#[derive(Clone, Debug)]
pub struct MultiStepLr {
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLr {
    /// A rate that falls to a tenth at each of `milestones`, in any order.
    pub fn new(milestones: impl Into<Vec<usize>>) -> Self {
        Self { milestones: milestones.into(), gamma: 0.1 }
    }
}

setters!(MultiStepLr {
    /// The factor, by default 0.1.
    gamma: f64,
});

impl Schedule for MultiStepLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        base * self.gamma.powf(count(passed))
    }
}

/// Times `factor` for the first `total_iters` steps, as `torch.optim.lr_scheduler.ConstantLR`.
#[derive(Clone, Debug)]
pub struct ConstantLr {
    factor: f64,
    total_iters: usize,
}

impl ConstantLr {
    /// A third of the rate for 5 steps.
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
    /// The factor, by default 1/3.
    factor: f64,
    /// The number of steps, by default 5.
    total_iters: usize,
});

impl Schedule for ConstantLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        if step < self.total_iters { base * self.factor } else { base }
    }
}

/// From `start_factor` to `end_factor` in equal steps, as `torch.optim.lr_scheduler.LinearLR`.
#[derive(Clone, Debug)]
pub struct LinearLr {
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl LinearLr {
    /// From a third of the rate to the whole in 5 steps.
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
    /// The factor of the first step, by default 1/3.
    start_factor: f64,
    /// The factor from step `total_iters` on, by default 1.
    end_factor: f64,
    /// The number of steps, by default 5.
    total_iters: usize,
});

impl Schedule for LinearLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let share = progress(step, self.total_iters);
        base * (self.start_factor + (self.end_factor - self.start_factor) * share)
    }
}

/// Times `gamma` after every step, as `torch.optim.lr_scheduler.ExponentialLR`.
#[derive(Clone, Debug)]
pub struct ExponentialLr {
    gamma: f64,
}

impl ExponentialLr {
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for ExponentialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * self.gamma.powf(count(step))
    }
}

/// Down to 0 as a power of what is left, as `torch.optim.lr_scheduler.PolynomialLR`.
#[derive(Clone, Debug)]
pub struct PolynomialLr {
    total_iters: usize,
    power: f64,
}

impl PolynomialLr {
    /// In a straight line to 0 in 5 steps.
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
    /// The number of steps, by default 5.
    total_iters: usize,
    /// The power, by default 1.
    power: f64,
});

impl Schedule for PolynomialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        base * (1. - progress(step, self.total_iters)).powf(self.power)
    }
}

/// Along half a cosine down to `eta_min` in `t_max` steps, and up again, as
/// `torch.optim.lr_scheduler.CosineAnnealingLR` (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent
/// with Warm Restarts", 2017).
#[derive(Clone, Debug)]
pub struct CosineAnnealingLr {
    t_max: usize,
    eta_min: f64,
}

impl CosineAnnealingLr {
    /// A rate that reaches its least after `t_max` steps.
    pub fn new(t_max: usize) -> Self {
        Self { t_max, eta_min: 0. }
    }
}

setters!(CosineAnnealingLr {
    /// The least rate, by default 0.
    eta_min: f64,
});

impl Schedule for CosineAnnealingLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        cosine(base, self.eta_min, count(step) / count(self.t_max.max(1)))
    }

    fn validate(&self) -> Result<()> {
        require(self.t_max > 0, "CosineAnnealingLr", "t_max cannot be 0")
    }
}

/// Along half a cosine down to `eta_min`, then at once back to the whole rate, again and again, as
/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` (Loshchilov and Hutter, 2017).
#[derive(Clone, Debug)]
pub struct CosineAnnealingWarmRestarts {
    t_0: usize,
    t_mult: usize,
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// A rate whose first run down takes `t_0` steps.
    pub fn new(t_0: usize) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0. }
    }
}

setters!(CosineAnnealingWarmRestarts {
    /// How many times longer each run is than the one before, by default 1.
    t_mult: usize,
    /// The least rate, by default 0.
    eta_min: f64,
});

impl Schedule for CosineAnnealingWarmRestarts {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let (mut at, mut length) = (step, self.t_0.max(1));
        if self.t_mult <= 1 {
            at %= length;
        }
        while at >= length {
            (at, length) = (at - length, length.saturating_mul(self.t_mult));
        }
        cosine(base, self.eta_min, count(at) / count(length))
    }

    fn validate(&self) -> Result<()> {
        require(self.t_0 > 0, "CosineAnnealingWarmRestarts", "t_0 cannot be 0")?;
        require(self.t_mult > 0, "CosineAnnealingWarmRestarts", "t_mult cannot be 0")
    }
}

/// One rise to `max_lr` and one longer fall far below the start, as `torch.optim.lr_scheduler.OneCycleLR`
/// (Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
/// 2018). The optimiser's own rate plays no part, and its momentum is left alone.
#[derive(Clone, Debug)]
pub struct OneCycleLr {
    max_lr: f64,
    total_steps: usize,
    pct_start: f64,
    div_factor: f64,
    final_div_factor: f64,
    anneal_strategy: Anneal,
    three_phase: bool,
}

/// The curve that [`OneCycleLr`] follows between its rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    Cos,
    Linear,
}

impl OneCycleLr {
    /// A cycle of `total_steps` steps, most often batches, whose highest rate is `max_lr`.
    pub fn new(max_lr: f64, total_steps: usize) -> Self {
        let (pct_start, div_factor, final_div_factor) = (0.3, 25., 1e4);
        let (anneal_strategy, three_phase) = (Anneal::Cos, false);
        Self { max_lr, total_steps, pct_start, div_factor, final_div_factor, anneal_strategy, three_phase }
    }

    /// The step at which each phase ends, and the rate it ends with.
    fn phases(&self) -> Vec<(f64, f64)> {
        let first = self.max_lr / self.div_factor;
        let (last, end) = (first / self.final_div_factor, count(self.total_steps) - 1.);
        let top = self.pct_start * count(self.total_steps) - 1.;
        match self.three_phase {
            true => vec![(top, self.max_lr), (2. * top, first), (end, last)],
            false => vec![(top, self.max_lr), (end, last)],
        }
    }
}

setters!(OneCycleLr {
    /// The share of the steps in which the rate rises, by default 0.3.
    pct_start: f64,
    /// The highest rate over the first one, by default 25.
    div_factor: f64,
    /// The first rate over the last one, by default 10,000.
    final_div_factor: f64,
    /// The curve, by default half a cosine.
    anneal_strategy: Anneal,
    /// Whether the rate falls as fast as it rose, and then to its end in a third phase; by default not.
    three_phase: bool,
});

impl Schedule for OneCycleLr {
    fn rate(&self, _base: f64, step: usize) -> f64 {
        let (mut from, mut rate) = (0., self.max_lr / self.div_factor);
        for (until, next) in self.phases() {
            if count(step) <= until {
                let share = (count(step) - from) / (until - from).max(f64::MIN_POSITIVE);
                return match self.anneal_strategy {
                    Anneal::Cos => cosine(rate, next, share),
                    Anneal::Linear => rate + (next - rate) * share,
                };
            }
            (from, rate) = (until, next);
        }
        rate
    }

    fn validate(&self) -> Result<()> {
        let share = (0. ..=1.).contains(&self.pct_start);
        require(self.total_steps > 0, "OneCycleLr", "total_steps cannot be 0")?;
        require(share, "OneCycleLr", "pct_start has to be between 0 and 1")?;
        require(self.div_factor > 0., "OneCycleLr", "div_factor has to be above 0")?;
        require(self.final_div_factor > 0., "OneCycleLr", "final_div_factor has to be above 0")
    }
}

/// One schedule after another, each counting its own steps from 0, as
/// `torch.optim.lr_scheduler.SequentialLR`: a warm-up, then a long fall.
pub struct SequentialLr {
    schedules: Vec<Box<dyn Schedule>>,
    milestones: Vec<usize>,
}

impl SequentialLr {
    /// Begins with `first`.
    pub fn new(first: impl Schedule + 'static) -> Self {
        Self { schedules: vec![Box::new(first)], milestones: Vec::new() }
    }

    /// Goes on with `next` from step `milestone` on.
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'static) -> Self {
        self.schedules.push(Box::new(next));
        self.milestones.push(milestone);
        self
    }
}

impl Schedule for SequentialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let current = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        let from = current.checked_sub(1).map_or(0, |last| self.milestones[last]);
        self.schedules.get(current).map_or(base, |schedule| schedule.rate(base, step - from))
    }

    fn validate(&self) -> Result<()> {
        require(self.milestones.is_sorted(), "SequentialLr", "the milestones have to rise")?;
        self.schedules.iter().try_for_each(|schedule| schedule.validate())
    }
}

/// How far `step` is on the way to `total`, from 0 to 1.
fn progress(step: usize, total: usize) -> f64 {
    if step >= total { 1. } else { count(step) / count(total) }
}

/// From `from` to `to` along half a cosine; `share` 1 is its end.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1. + (PI * share).cos()) / 2.
}
