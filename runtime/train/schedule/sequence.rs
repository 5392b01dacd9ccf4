//! Sequences and products of schedules.

use crate::Result;

use super::{Schedule, require};

/// Runs one schedule after another, for example a warm-up before a decay, like `torch.optim.lr_scheduler.SequentialLR`.
/// Each schedule counts its steps from 0.
///
/// ```
/// use sconce::train::schedule::{ExponentialLr, LinearLr, Schedule, SequentialLr};
///
/// let warm_up = LinearLr::new().start_factor(0.5).total_iters(2);
/// let schedule = SequentialLr::new(warm_up).then(2, ExponentialLr::new(0.5));
/// assert_eq!([0, 1, 2, 3].map(|step| schedule.rate(1., step)), [0.5, 0.75, 1., 0.5]);
/// ```
pub struct SequentialLr {
    schedules: Vec<Box<dyn Schedule>>,
    milestones: Vec<usize>,
}

impl SequentialLr {
    /// Creates a sequence that starts with `first`.
    pub fn new(first: impl Schedule + 'static) -> Self {
        Self { schedules: vec![Box::new(first)], milestones: Vec::new() }
    }

    /// Switches to `next` at step `milestone`.
    pub fn then(mut self, milestone: usize, next: impl Schedule + 'static) -> Self {
        self.schedules.push(Box::new(next));
        self.milestones.push(milestone);
        self
    }
}

impl Schedule for SequentialLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let current = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        let start = current.checked_sub(1).map_or(0, |last| self.milestones[last]);
        self.schedules.get(current).map_or(base, |schedule| schedule.rate(base, step - start))
    }

    /// Tells each schedule the number of steps until the next milestone or the end of the run.
    fn set_total_steps(&mut self, steps: usize) {
        let starts = std::iter::once(0).chain(self.milestones.iter().copied());
        let ends = self.milestones.iter().copied().chain([steps]);
        for (schedule, (start, end)) in self.schedules.iter_mut().zip(starts.zip(ends)) {
            schedule.set_total_steps(end.min(steps).saturating_sub(start));
        }
    }

    fn describe(&self) -> String {
        let milestones = std::iter::once(None).chain(self.milestones.iter().copied().map(Some));
        let parts = self.schedules.iter().zip(milestones).map(|(schedule, milestone)| match milestone {
            Some(milestone) => format!("from step {milestone}: {}", schedule.describe()),
            None => schedule.describe(),
        });
        format!("SequentialLr [{}]", parts.collect::<Vec<_>>().join(", "))
    }

    fn validate(&self) -> Result<()> {
        require(self.milestones.is_sorted(), "SequentialLr", "the milestones must be in ascending order")?;
        self.schedules.iter().try_for_each(|schedule| schedule.validate())
    }
}

/// Applies several schedules in every step, for example a warm-up and a decay at the same time, like
/// `torch.optim.lr_scheduler.ChainedScheduler`. The rate of each schedule is the base rate of the next, so the factors
/// of the schedules are multiplied.
///
/// The rates equal PyTorch's if every schedule multiplies the base rate by a factor. With
/// [`CosineAnnealingWarmRestarts`](super::CosineAnnealingWarmRestarts), or with an `eta_min` other than 0, they differ:
/// PyTorch's warm restarts ignore earlier schedules. [`OneCycleLr`](super::OneCycleLr) ignores its base rate and
/// replaces the rate of the schedules before it.
///
/// ```
/// use sconce::train::schedule::{ChainedLr, ConstantLr, ExponentialLr, Schedule};
///
/// let warm_up = ConstantLr::new().factor(0.25).total_iters(2);
/// let schedule = ChainedLr::new(warm_up).and(ExponentialLr::new(0.5));
/// assert_eq!([0, 1, 2, 3].map(|step| schedule.rate(1., step)), [0.25, 0.125, 0.25, 0.125]);
/// ```
pub struct ChainedLr(Vec<Box<dyn Schedule>>);

impl ChainedLr {
    /// Creates a chain of one schedule.
    pub fn new(first: impl Schedule + 'static) -> Self {
        Self(vec![Box::new(first)])
    }

    /// Adds a schedule.
    pub fn and(mut self, next: impl Schedule + 'static) -> Self {
        self.0.push(Box::new(next));
        self
    }
}

impl Schedule for ChainedLr {
    fn rate(&self, base: f64, step: usize) -> f64 {
        self.0.iter().fold(base, |rate, schedule| schedule.rate(rate, step))
    }

    fn set_total_steps(&mut self, steps: usize) {
        self.0.iter_mut().for_each(|schedule| schedule.set_total_steps(steps));
    }

    fn describe(&self) -> String {
        let parts = self.0.iter().map(|schedule| schedule.describe());
        format!("ChainedLr [{}]", parts.collect::<Vec<_>>().join(", "))
    }

    fn validate(&self) -> Result<()> {
        self.0.iter().try_for_each(|schedule| schedule.validate())
    }
}
