//! The state of a run, besides the network.

use std::time::{Duration, Instant};

use crate::checkpoint::StateDict;
use crate::module::Module;
use crate::train::data::{Batches, Epoch};
use crate::train::history::{EpochReport, History};
use crate::train::schedule::ReduceLrOnPlateau;
use crate::train::tally::Tally;
use crate::train::throttle::Throttle;
use crate::{Error, Result, random};

use super::files::Position;
use super::learning_rate::LearningRate;
use super::monitor::{Monitor, Patience};
use super::step::Stepper;

/// The minimum time between two computations of the displayed metrics.
const DISPLAY_INTERVAL: Duration = Duration::from_millis(200);

/// Everything that training changes, besides the network.
pub(super) struct Run<M> {
    pub stepper: Stepper<M>,
    pub history: History,
    /// The losses of the current epoch.
    pub tally: Tally,
    pub plateau: Option<ReduceLrOnPlateau>,
    /// The parameters and buffers of the network after the best epoch, if they are kept.
    pub best: Option<StateDict>,
    /// The duration of the current epoch before `epoch_start`, in seconds. More than 0 only after a resume.
    pub earlier_seconds: f64,
    pub epoch_start: Instant,
    /// The number of batches of an epoch, if it is known.
    pub batches_of_epoch: Option<usize>,
    /// The state of the random number generator at the start of the current epoch.
    pub random_state_at_epoch_start: random::State,
    /// Set if a run is resumed in the middle of an epoch, until the epoch continues.
    pub suspended: Option<Suspended>,
    /// When the last checkpoint was saved.
    pub saved: Option<Position>,
    /// The number of checkpoint intervals from the start of the run to the last checkpoint.
    pub saved_intervals: usize,
    /// Limits the time that is spent on displayed metrics.
    pub display: Throttle,
}

/// An epoch that was interrupted after [`Stepper::batches`] batches, and that a resumed run continues.
pub(super) struct Suspended {
    /// The state of the random number generator after the last step.
    pub random_state: random::State,
}

impl<M: Module> Run<M> {
    /// Creates the state before the first step.
    pub fn new(
        stepper: Stepper<M>,
        learning_rate: Option<&LearningRate<'_>>,
        monitor: Monitor,
    ) -> Result<Self> {
        let plateau = match learning_rate {
            Some(LearningRate::Plateau(plateau)) => {
                plateau.check_mode(&monitor.name, monitor.higher_is_better)?;
                Some(plateau.clone())
            }
            _ => None,
        };
        let history = History { monitor, ..History::default() };
        Ok(Self {
            stepper,
            history,
            tally: Tally::default(),
            plateau,
            best: None,
            earlier_seconds: 0.,
            epoch_start: Instant::now(),
            batches_of_epoch: None,
            random_state_at_epoch_start: random::state(),
            suspended: None,
            saved: None,
            saved_intervals: 0,
            display: Throttle::new(DISPLAY_INTERVAL),
        })
    }

    /// Begins the next epoch, or continues the epoch in which a resumed run was interrupted. Returns the remaining
    /// batches.
    pub fn begin_epoch<'d, D: Batches>(&mut self, data: &'d D) -> Result<Epoch<'d, D::Batch>> {
        self.epoch_start = Instant::now();
        data.set_epoch(self.stepper.epochs as u64);
        let Some(Suspended { random_state }) = self.suspended.take() else {
            self.random_state_at_epoch_start = random::state();
            return data.epoch();
        };
        // From the same state of the generator, the data returns the same batches in the same order.
        random::set_state(&self.random_state_at_epoch_start);
        let mut epoch = data.epoch()?;
        let finished = self.stepper.batches;
        epoch.nth(finished - 1).ok_or_else(|| too_few_batches(finished))??;
        random::set_state(&random_state);
        Ok(epoch)
    }

    /// Returns the duration of the current epoch in seconds.
    pub fn seconds(&self) -> f64 {
        self.earlier_seconds + self.epoch_start.elapsed().as_secs_f64()
    }

    /// Adds the report of a finished epoch, and adapts the learning rate. Returns `true` if the epoch is the best.
    pub fn finish_epoch(&mut self, report: EpochReport) -> Result<bool> {
        let value = self.history.monitor.value(&report)?;
        self.history.epochs.push(report);
        self.stepper.epochs += 1;
        self.stepper.batches = 0;
        self.tally = Tally::default();
        self.earlier_seconds = 0.;
        self.epoch_start = Instant::now();
        if let Some(plateau) = &mut self.plateau {
            plateau.step(value, &mut *self.stepper.optimizer)?;
        }
        Ok(self.history.best().map(|best| best.epoch) == Some(self.stepper.epochs))
    }

    /// Returns the network that is evaluated: the average, or `model` if there is none.
    pub fn network<'m>(&'m self, model: &'m M) -> &'m M {
        self.stepper.average.as_ref().map_or(model, |average| average.network())
    }

    /// Returns `true` if at least `patience` epochs are finished, and the best epoch is not among the last `patience`.
    /// A patience of 0 counts as 1.
    pub fn is_out_of_patience(&self, patience: Patience) -> bool {
        let best = self.history.best().map_or(0, |best| best.epoch);
        let epochs = self.history.epochs.len();
        epochs > best && epochs - best >= patience.0.max(1)
    }
}

/// Returns an error if an epoch has fewer batches than a checkpoint counts as finished.
pub(super) fn check_finished_batches<D: Batches>(data: &D, finished: usize) -> Result<()> {
    match finished.checked_sub(1) {
        Some(last) => data.epoch_part(last, 1)?.next().ok_or_else(|| too_few_batches(finished))?.map(drop),
        None => Ok(()),
    }
}

fn too_few_batches(finished: usize) -> Error {
    Error::msg(format!(
        "expected an epoch of at least {finished} batches, which the checkpoint counts as finished, found fewer; pass \
         the data of the run that saved the checkpoint"
    ))
}
