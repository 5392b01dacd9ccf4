//! One schedule after another.

use super::{Schedule, require};
use crate::Result;

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
