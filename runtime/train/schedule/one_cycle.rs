//! The one-cycle schedule.

use crate::Result;

use super::cosine::cosine;
use super::{Schedule, require, setters, to_f64};

/// Increases the learning rate to `max_lr` and then decreases it far below its initial value, like
/// `torch.optim.lr_scheduler.OneCycleLR` (Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks
/// Using Large Learning Rates", 2018). The optimizer's initial learning rate is ignored. Unlike in PyTorch, the
/// momentum does not change.
///
/// ```
/// use sconce::train::schedule::{OneCycleLr, Schedule};
///
/// let schedule = OneCycleLr::new(0.5, 100);
/// let rates = [0, 29, 99].map(|step| schedule.rate(1., step));
/// for (rate, expected) in rates.iter().zip([0.02, 0.5, 2e-6]) {
///     assert!((rate - expected).abs() < 1e-9);
/// }
/// ```
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

/// The interpolation between the rates of [`OneCycleLr`].
///
/// ```
/// use sconce::train::schedule::{Anneal, OneCycleLr, Schedule};
///
/// let cycle = OneCycleLr::new(1., 11).pct_start(0.5).anneal_strategy(Anneal::Linear);
/// let decrease = |step| cycle.rate(1., step) - cycle.rate(1., step + 1);
/// // After the peak, the rate falls by the same amount in each step.
/// assert!((decrease(6) - decrease(8)).abs() < 1e-12 && decrease(6) > 0.);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A straight line.
    Linear,
}

impl OneCycleLr {
    /// Creates a cycle of `total_steps` steps, usually batches, with the maximum learning rate `max_lr`.
    pub fn new(max_lr: f64, total_steps: usize) -> Self {
        Self {
            max_lr,
            total_steps,
            pct_start: 0.3,
            div_factor: 25.,
            final_div_factor: 1e4,
            anneal_strategy: Anneal::Cos,
            three_phase: false,
        }
    }

    /// Returns the last step of each phase and the learning rate at that step.
    fn phases(&self) -> Vec<(f64, f64)> {
        let initial = self.max_lr / self.div_factor;
        let minimum = initial / self.final_div_factor;
        let end = to_f64(self.total_steps) - 1.;
        let peak = self.pct_start * to_f64(self.total_steps) - 1.;
        if self.three_phase {
            vec![(peak, self.max_lr), (2. * peak, initial), (end, minimum)]
        } else {
            vec![(peak, self.max_lr), (end, minimum)]
        }
    }
}

setters!(OneCycleLr {
    /// Sets the fraction of the steps in which the learning rate increases, by default 0.3.
    pct_start: f64,
    /// Sets the ratio of the maximum to the initial learning rate, by default 25.
    div_factor: f64,
    /// Sets the ratio of the initial to the final learning rate, by default 10,000.
    final_div_factor: f64,
    /// Sets the interpolation, by default [`Anneal::Cos`].
    anneal_strategy: Anneal,
    /// Sets whether the learning rate first decreases to its initial value as fast as it rose, and then decreases to
    /// its final value in a third phase. Default: `false`.
    three_phase: bool,
});

impl Schedule for OneCycleLr {
    fn rate(&self, _base: f64, step: usize) -> f64 {
        let mut start = 0.;
        let mut start_rate = self.max_lr / self.div_factor;
        for (end, end_rate) in self.phases() {
            if to_f64(step) <= end {
                let progress = (to_f64(step) - start) / (end - start).max(f64::MIN_POSITIVE);
                return match self.anneal_strategy {
                    Anneal::Cos => cosine(start_rate, end_rate, progress),
                    Anneal::Linear => start_rate + (end_rate - start_rate) * progress,
                };
            }
            (start, start_rate) = (end, end_rate);
        }
        start_rate
    }

    fn validate(&self) -> Result<()> {
        let is_fraction = (0. ..=1.).contains(&self.pct_start);
        require(self.total_steps > 0, "OneCycleLr", "total_steps cannot be 0")?;
        require(is_fraction, "OneCycleLr", "pct_start must be between 0 and 1")?;
        require(self.div_factor > 0., "OneCycleLr", "div_factor must be greater than 0")?;
        require(self.final_div_factor > 0., "OneCycleLr", "final_div_factor must be greater than 0")
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}
