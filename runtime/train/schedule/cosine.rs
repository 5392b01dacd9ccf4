//! Rates that fall along a cosine.

use std::f64::consts::PI;

use super::{Schedule, count, require, setters};
use crate::Result;

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

/// From `from` to `to` along half a cosine; `share` 1 is its end.
pub(super) fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1. + (PI * share).cos()) / 2.
}
