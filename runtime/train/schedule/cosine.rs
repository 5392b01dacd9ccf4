//! Cosine annealing schedules.

use std::f64::consts::PI;

use crate::Result;

use super::{Schedule, require, setters, to_f64};

/// Increases the learning rate linearly from 0 during a warm-up, and then decreases it to `eta_min` along half a cosine
/// until the end of the run.
///
/// [`fit`](crate::train::Trainer::fit) sets the number of steps of the run, after which the rate stays at `eta_min`.
/// [`total_steps`](Self::total_steps) sets it for your own training loop.
///
/// ```
/// use sconce::train::schedule::{Cosine, Schedule};
///
/// let schedule = Cosine::new().warmup(2).total_steps(6);
/// let rates = [0, 1, 2, 4, 6, 9].map(|step| schedule.rate(1., step));
/// for (rate, expected) in rates.iter().zip([0., 0.5, 1., 0.5, 0., 0.]) {
///     assert!((rate - expected).abs() < 1e-9);
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cosine {
    warmup: usize,
    eta_min: f64,
    total_steps: Option<usize>,
}

impl Cosine {
    /// Creates a schedule without a warm-up that ends at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of steps of the run.
    pub fn total_steps(mut self, steps: usize) -> Self {
        self.total_steps = Some(steps);
        self
    }
}

setters!(Cosine {
    /// Sets the number of steps of the warm-up, by default 0.
    warmup: usize,
    /// Sets the learning rate at the end, by default 0.
    eta_min: f64,
});

impl Schedule for Cosine {
    fn rate(&self, base: f64, step: usize) -> f64 {
        if step < self.warmup {
            return base * to_f64(step) / to_f64(self.warmup);
        }
        let total = self.total_steps.unwrap_or(usize::MAX);
        let steps = total.saturating_sub(self.warmup).max(1);
        cosine(base, self.eta_min, to_f64((step - self.warmup).min(steps)) / to_f64(steps))
    }

    fn set_total_steps(&mut self, steps: usize) {
        self.total_steps = Some(steps);
    }

    fn validate(&self) -> Result<()> {
        let Some(total) = self.total_steps else {
            let message = "the number of steps of the run is unknown: the data must know its number of batches \
                           (`FromFn::batches`), or call `Cosine::total_steps`";
            return require(false, "Cosine", message);
        };
        let message =
            format!("expected a warm-up of fewer than the {total} steps of the run, found {}", self.warmup);
        require(self.warmup < total.max(1), "Cosine", &message)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Decreases the learning rate to `eta_min` over `t_max` steps along half a cosine, and increases it again afterwards,
/// like `torch.optim.lr_scheduler.CosineAnnealingLR` (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with
/// Warm Restarts", 2017).
///
/// ```
/// use sconce::train::schedule::{CosineAnnealingLr, Schedule};
///
/// let schedule = CosineAnnealingLr::new(10).eta_min(0.5);
/// let rates = [0, 5, 10, 20].map(|step| schedule.rate(1., step));
/// for (rate, expected) in rates.iter().zip([1., 0.75, 0.5, 1.]) {
///     assert!((rate - expected).abs() < 1e-9);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CosineAnnealingLr {
    t_max: usize,
    eta_min: f64,
}

impl CosineAnnealingLr {
    /// Creates a schedule that reaches its minimum after `t_max` steps.
    pub fn new(t_max: usize) -> Self {
        Self { t_max, eta_min: 0. }
    }
}

setters!(CosineAnnealingLr {
    /// Sets the minimum learning rate, by default 0.
    eta_min: f64,
});

impl Schedule for CosineAnnealingLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        cosine(base, self.eta_min, to_f64(step) / to_f64(self.t_max.max(1)))
    }

    fn validate(&self) -> Result<()> {
        require(self.t_max > 0, "CosineAnnealingLr", "t_max cannot be 0")
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Decreases the learning rate to `eta_min` along half a cosine and then restarts at the base rate, repeatedly, like
/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` (Loshchilov and Hutter, 2017).
///
/// ```
/// use sconce::train::schedule::{CosineAnnealingWarmRestarts, Schedule};
///
/// let schedule = CosineAnnealingWarmRestarts::new(4).t_mult(2);
/// let rates = [0, 2, 4, 8, 12].map(|step| schedule.rate(1., step));
/// for (rate, expected) in rates.iter().zip([1., 0.5, 1., 0.5, 1.]) {
///     assert!((rate - expected).abs() < 1e-9);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CosineAnnealingWarmRestarts {
    t_0: usize,
    t_mult: usize,
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// Creates a schedule whose first period is `t_0` steps.
    pub fn new(t_0: usize) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0. }
    }
}

setters!(CosineAnnealingWarmRestarts {
    /// Sets the factor by which each restart multiplies the length of the period, by default 1.
    t_mult: usize,
    /// Sets the minimum learning rate, by default 0.
    eta_min: f64,
});

impl Schedule for CosineAnnealingWarmRestarts {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let mut position = step;
        let mut length = self.t_0.max(1);
        if self.t_mult <= 1 {
            position %= length;
        }
        while position >= length {
            (position, length) = (position - length, length.saturating_mul(self.t_mult));
        }
        cosine(base, self.eta_min, to_f64(position) / to_f64(length))
    }

    fn validate(&self) -> Result<()> {
        require(self.t_0 > 0, "CosineAnnealingWarmRestarts", "t_0 cannot be 0")?;
        require(self.t_mult > 0, "CosineAnnealingWarmRestarts", "t_mult cannot be 0")
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Interpolates along a cosine: returns `start` for a `progress` of 0, `end` for 1, and `start` again for 2.
pub(super) fn cosine(start: f64, end: f64, progress: f64) -> f64 {
    end + (start - end) * (1. + (PI * progress).cos()) / 2.
}
