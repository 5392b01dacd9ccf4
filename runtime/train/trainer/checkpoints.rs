//! When the state of training is saved.

use std::path::PathBuf;

use crate::Result;
use crate::module::Module;
use crate::train::schedule::Every;

use super::Trainer;
use super::files::{Position, prune};
use super::run::Run;
use super::state::TrainingState;

/// The number of checkpoints that are kept by default.
const KEEP: usize = 3;

/// The settings of [`Trainer::checkpoint`].
pub(super) struct Checkpoints {
    pub directory: PathBuf,
    every: Every,
    pub keep: usize,
}

impl Checkpoints {
    pub fn new(directory: PathBuf, every: Every) -> Self {
        Self { directory, every, keep: KEEP }
    }

    pub fn every(&self) -> Every {
        self.every
    }

    pub fn validate(&self) -> Result<()> {
        self.every.validate("checkpoint")
    }

    /// Returns how many intervals between checkpoints have passed since the start of the run.
    pub fn intervals<M>(&self, run: &Run<M>) -> usize {
        self.every.count(run.stepper.steps, run.stepper.epochs)
    }
}

impl<M: Module, O: 'static, T: 'static> Trainer<'_, M, O, T> {
    /// Returns `true` if an interval between checkpoints has ended since the last checkpoint. The intervals are counted
    /// from the start of the run.
    pub(super) fn is_checkpoint_due(&self, run: &Run<M>) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.intervals(run) > run.saved_intervals)
    }

    /// Saves the state of training, unless there is no directory or the state has been saved already.
    pub(super) fn save(&mut self, run: &mut Run<M>, is_best: bool) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let epoch = if run.stepper.batches == 0 { run.stepper.epochs } else { 0 };
        let position = Position { step: run.stepper.steps, epoch, is_best };
        if run.saved.is_some_and(|saved| (saved.step, saved.epoch) == (position.step, epoch)) {
            return Ok(());
        }
        // The saved state has only the losses that were read from the device, so read the rest now.
        let losses = run.tally.read()?;
        self.check_losses(run, losses)?;
        // A run cannot continue from parameters that are not finite. Do not save them: `prune` keeps only the newest
        // checkpoints and the best, so it might remove the last one with finite parameters.
        if !self.step.allow_non_finite {
            run.stepper.check_parameters()?;
        }
        let path = checkpoints.directory.join(position.file_name());
        run.saved_intervals = checkpoints.intervals(run);
        let state = self.state_of_all_ranks(run)?;
        if let (Some(state), Some(checkpoints)) = (state, &self.checkpoints) {
            state.write(&path)?;
            prune(&checkpoints.directory, checkpoints.keep)?;
        }
        run.saved = Some(position);
        run.stepper.last_checkpoint = Some(path);
        Ok(())
    }

    /// Returns the state of training. In distributed training, it contains the metrics of all ranks, and only rank 0
    /// gets it.
    fn state_of_all_ranks(&mut self, run: &Run<M>) -> Result<Option<TrainingState>> {
        let Some(ranks) = self.ranks.clone() else { return self.state(run).map(Some) };
        self.sync_networks(run)?;
        let own = self.metrics.iter().map(|metric| metric.state()).collect::<Result<Vec<_>>>()?;
        self.merge_metrics()?;
        let state = if ranks.is_root() { Some(self.state(run)?) } else { None };
        for (metric, own) in self.metrics.iter_mut().zip(own) {
            metric.reset();
            metric.load_state(&own)?;
        }
        Ok(state)
    }
}
