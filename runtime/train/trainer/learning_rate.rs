//! The learning rate of each step: constant, scheduled, or lowered on a plateau.

use crate::train::optim::Step;
use crate::train::schedule::{Every, ReduceLrOnPlateau, Schedule};
use crate::{Error, Result};

/// The schedule of the learning rate: a function of the steps or epochs, or one that depends on the monitored value.
///
/// [`Trainer::schedule`](super::Trainer::schedule) and the attribute `#[module(schedule = …)]` accept every type that
/// implements [`IntoSchedule`].
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::{IntoSchedule, LearningRate};
///
/// let cosine: LearningRate<'_> = Cosine::new().warmup(500).into_schedule();
/// assert!(matches!(cosine, LearningRate::Schedule(_, Every::Step)));
/// let step: LearningRate<'_> = (StepLr::new(10), Every::Epoch).into_schedule();
/// assert!(matches!(step, LearningRate::Schedule(_, Every::Epoch)));
/// ```
#[non_exhaustive]
pub enum LearningRate<'a> {
    /// A schedule, and how often it advances.
    Schedule(Box<dyn Schedule + 'a>, Every),
    /// A schedule that depends on the value that the trainer [monitors](super::Trainer::monitor).
    Plateau(ReduceLrOnPlateau),
}

/// The argument of [`Trainer::schedule`](super::Trainer::schedule): a learning-rate schedule (which then advances in
/// every step), a pair of a schedule and [`Every`], or [`ReduceLrOnPlateau`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// # let trainer = || Trainer::new(&line, mse_loss, Sgd::new(0.1));
/// # let x = Tensor::ones((8, 1), DType::F32, &Device::Cpu)?;
/// # let data = (x.clone(), x);
/// let mut each_step = trainer().schedule(ExponentialLr::new(0.99));
/// let mut each_epoch = trainer().schedule((ExponentialLr::new(0.5), Every::Epoch));
/// let mut plateau = trainer().schedule(ReduceLrOnPlateau::new().patience(3));
/// # each_step.step(&data)?; each_epoch.step(&data)?; plateau.step(&data)?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a learning-rate schedule",
    note = "a schedule is a value such as `Cosine::new()`, a closure from the step to a factor, or a pair such as \
            `(StepLr::new(10), Every::Epoch)`"
)]
pub trait IntoSchedule<'a> {
    /// Converts the value.
    fn into_schedule(self) -> LearningRate<'a>;
}

#[diagnostic::do_not_recommend]
impl<'a, S: Schedule + 'a> IntoSchedule<'a> for S {
    fn into_schedule(self) -> LearningRate<'a> {
        LearningRate::Schedule(Box::new(self), Every::Step)
    }
}

impl<'a, S: Schedule + 'a> IntoSchedule<'a> for (S, Every) {
    fn into_schedule(self) -> LearningRate<'a> {
        LearningRate::Schedule(Box::new(self.0), self.1)
    }
}

impl<'a> IntoSchedule<'a> for ReduceLrOnPlateau {
    fn into_schedule(self) -> LearningRate<'a> {
        LearningRate::Plateau(self)
    }
}

impl<'a> IntoSchedule<'a> for LearningRate<'a> {
    fn into_schedule(self) -> LearningRate<'a> {
        self
    }
}

impl LearningRate<'_> {
    /// Validates a schedule and, if the length of the run is known, sets its total number of intervals. `steps` and
    /// `epochs` are the training steps and the epochs of the run.
    pub(super) fn begin(&mut self, steps: Option<usize>, epochs: Option<usize>) -> Result<()> {
        let Self::Schedule(schedule, every) = self else { return Ok(()) };
        every.validate("schedule")?;
        if let Some(total) = every.total(steps, epochs) {
            schedule.set_total_steps(total);
        }
        schedule.validate()
    }

    /// Describes the schedule for the log.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Schedule(schedule, Every::Step) => schedule.describe(),
            Self::Schedule(schedule, every) => format!("({}, {every:?})", schedule.describe()),
            Self::Plateau(plateau) => format!("{plateau:?}"),
        }
    }

    /// Sets the learning rates of the next step of `optimizer`, after `steps` steps and `epochs` epochs.
    pub(super) fn apply(
        &self,
        optimizer: &mut dyn Step,
        base_rates: &[f64],
        steps: usize,
        epochs: usize,
    ) -> Result<()> {
        let Self::Schedule(schedule, every) = self else { return Ok(()) };
        let step = every.count(steps, epochs);
        let rates: Vec<f64> = base_rates.iter().map(|base| schedule.rate(*base, step)).collect();
        optimizer.set_learning_rates(&rates).map_err(|error| {
            Error::msg(format!("invalid learning rate from the schedule for step {step}: {error}"))
        })
    }
}
