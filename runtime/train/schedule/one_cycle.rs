//! One rise and one fall.

use super::cosine::cosine;
use super::{Schedule, count, require, setters};
use crate::Result;

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
