//! When the state of training is saved.

use std::path::PathBuf;

use crate::Result;
use crate::module::Module;
use crate::train::schedule::Every;

use super::Trainer;
use super::files::{Position, prune};
use super::run::Run;

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

    pub fn validate(&self) -> Result<()> {
        self.every.validate("checkpoint")
    }

    /// Returns how many intervals between checkpoints have passed since the start of the run.
    pub fn intervals<M>(&self, run: &Run<M>) -> usize {
        self.every.count(run.stepper.steps, run.stepper.epochs)
    }
}

impl<M: Module, O, T> Trainer<'_, M, O, T> {
    /// Returns `true` if the interval between checkpoints has passed since the last one.
    pub(super) fn is_checkpoint_due(&self, run: &Run<M>) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.intervals(run) > run.saved_intervals)
    }

    /// Saves the state of training, unless there is no directory or the state has been saved already.
    pub(super) fn save(&self, run: &mut Run<M>, is_best: bool) -> Result<()> {
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
        self.state(run)?.write(&path)?;
        run.saved = Some(position);
        run.stepper.last_checkpoint = Some(path);
        run.saved_intervals = checkpoints.intervals(run);
        prune(&checkpoints.directory, checkpoints.keep)
    }
}
