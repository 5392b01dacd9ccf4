//! Resuming from the newest checkpoint that can be read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::{StateDict, with_context};
use crate::module::Module;
use crate::{Error, Result};

use super::Trainer;
use super::files::{Position, list, prepare};
use super::run::Run;
use super::state::TrainingState;

impl<M: Module, O, T> Trainer<'_, M, O, T> {
    /// Prepares the directory of checkpoints, and resumes from the newest one if [`resume`](Trainer::resume) is set.
    pub(super) fn begin_checkpoints(&mut self, run: &mut Run<M>) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else {
            let message = "resume: no directory of checkpoints is set; set one with `Trainer::checkpoint`";
            return if self.resume { Err(Error::msg(message)) } else { Ok(()) };
        };
        checkpoints.validate()?;
        self.check_states(run)?;
        let directory = checkpoints.directory.clone();
        prepare(&directory)?;
        let files = list(&directory)?;
        match files.first() {
            None => Ok(()),
            Some((_, path)) if !self.resume => Err(Error::msg(format!(
                "expected a directory without checkpoints, found {}; call `Trainer::resume` to continue that run, or \
                 choose another directory",
                path.display()
            ))),
            Some(_) => self.resume_from(run, &directory, files),
        }
    }

    /// Resumes from the first of `files` that can be read.
    fn resume_from(
        &mut self,
        run: &mut Run<M>,
        directory: &Path,
        files: Vec<(Position, PathBuf)>,
    ) -> Result<()> {
        let mut damaged = Vec::new();
        let mut newest_error = None;
        for (position, path) in &files {
            let state = match TrainingState::read(path) {
                Ok(state) => state,
                Err(error) => {
                    self.verbosity.line(format_args!("warning: {error}; trying the checkpoint before it"));
                    damaged.push(path);
                    newest_error.get_or_insert(error);
                    continue;
                }
            };
            let context = |error| Error::msg(format!("cannot resume from {}: {error}", path.display()));
            self.restore(run, &state).map_err(context)?;
            if self.run_settings.keep_best {
                run.best = best_values(run, &files).map_err(context)?;
            }
            run.saved = Some(*position);
            run.stepper.last_checkpoint = Some(path.clone());
            run.saved_intervals =
                self.checkpoints.as_ref().map_or(0, |checkpoints| checkpoints.intervals(run));
            run.history.resumed_from = Some(path.clone());
            self.verbosity.line(format_args!("resumed from {}", path.display()));
            // Only rank 0 writes files.
            let is_root = self.ranks.as_ref().is_none_or(|ranks| ranks.is_root());
            return damaged.into_iter().filter(|_| is_root).try_for_each(|path| set_aside(path));
        }
        let directory = directory.display();
        let reason = newest_error.map(|error| format!(": {error}")).unwrap_or_default();
        Err(Error::msg(format!("none of the checkpoints in {directory} can be read{reason}")))
    }
}

/// Returns the parameters and buffers of the network after the best epoch of the history. Returns `None` if the history
/// has no epoch, or only epochs whose monitored value is NaN.
fn best_values<M: Module>(run: &Run<M>, files: &[(Position, PathBuf)]) -> Result<Option<StateDict>> {
    let Some(best) = run.history.best().map(|best| best.epoch) else { return Ok(None) };
    let file = files.iter().find(|(position, _)| position.is_best && position.epoch == best);
    let missing = || {
        Error::msg(format!(
            "the checkpoint of the best epoch, epoch {best}, is missing; resume without `keep_best`"
        ))
    };
    let (_, path) = file.ok_or_else(missing)?;
    let state = TrainingState::read(path);
    let state = state.map_err(|error| Error::msg(format!("{error}; resume without `keep_best`")))?;
    Ok(Some(state.best_values()))
}

/// Renames a damaged checkpoint, so that it no longer counts as the newest.
fn set_aside(path: &Path) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    with_context(path.display(), fs::rename(path, name))
}
