//! The state of a run, besides the network.

use crate::Result;
use crate::checkpoint::StateDict;
use crate::module::Module;
use crate::train::history::{EpochReport, History};
use crate::train::schedule::ReduceLrOnPlateau;
use crate::train::tally::Tally;

use super::learning_rate::LearningRate;
use super::monitor::{Monitor, Patience};
use super::step::Stepper;

/// Everything that training changes, besides the network.
pub(super) struct Run<M> {
    pub stepper: Stepper<M>,
    pub history: History,
    /// The losses of the running epoch.
    pub tally: Tally,
    pub plateau: Option<ReduceLrOnPlateau>,
    /// The values of the network after the best epoch, if they are kept.
    pub best: Option<StateDict>,
    /// The duration of the running epoch in earlier calls, in seconds.
    pub earlier_seconds: f64,
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
        let tally = Tally::default();
        Ok(Self { stepper, history, tally, plateau, best: None, earlier_seconds: 0. })
    }

    /// Adds the report of a finished epoch, and adapts the learning rate. Returns `true` if the epoch is the best.
    pub fn finish_epoch(&mut self, report: EpochReport) -> Result<bool> {
        let value = self.history.monitor.value(&report)?;
        self.history.epochs.push(report);
        self.stepper.epochs += 1;
        self.stepper.batches = 0;
        self.tally = Tally::default();
        self.earlier_seconds = 0.;
        if let Some(plateau) = &mut self.plateau {
            plateau.step(value, &mut *self.stepper.optimizer)?;
        }
        Ok(self.history.best().map(|best| best.epoch) == Some(self.stepper.epochs))
    }

    /// Returns the network that is evaluated: the average, or `model` if there is none.
    pub fn network<'m>(&'m self, model: &'m M) -> &'m M {
        self.stepper.average.as_ref().map_or(model, |average| average.network())
    }

    /// Returns `true` if no epoch was the best for as many epochs as `patience`.
    pub fn is_out_of_patience(&self, patience: Patience) -> bool {
        let best = self.history.best().map_or(0, |best| best.epoch);
        let epochs = self.history.epochs.len();
        epochs > best && epochs - best >= patience.0.max(1)
    }
}
