//! How a log starts: in a directory without a log, or after the rows of an earlier process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::table::read_numbers;
use super::tensorboard::EventWriter;
use super::{METRICS, SECONDS, STEPS};

/// The number of steps between two rows by default.
const STEPS_PER_ROW: usize = 10;

/// The settings of [`Trainer::log`](crate::train::Trainer::log).
#[derive(Clone, Debug)]
pub(in crate::train) struct LogSettings {
    /// The directory, or `None` for the directory of the checkpoints.
    pub directory: Option<PathBuf>,
    /// The number of optimizer steps between two rows of `steps.csv`.
    pub every: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { directory: None, every: STEPS_PER_ROW }
    }
}

/// How the log of a run starts.
pub(in crate::train) struct Start<'a> {
    pub directory: &'a Path,
    /// The number of optimizer steps between two rows of `steps.csv`.
    pub every: usize,
    /// Continue the log of an earlier process.
    pub resume: bool,
    /// The number of finished optimizer steps. Later rows of `steps.csv` are removed.
    pub steps: usize,
    /// The number of finished epochs. Later rows of `metrics.csv` are removed.
    pub epochs: usize,
}

impl Start<'_> {
    /// Checks the settings and creates the directory.
    ///
    /// # Errors
    /// Fails if a setting is invalid, or if the directory has the log of another run.
    pub fn prepare(&self) -> Result<()> {
        if self.every == 0 {
            return Err(Error::msg("log_every: expected an interval of at least 1 step, found 0"));
        }
        with_context(self.directory.display(), fs::create_dir_all(self.directory))?;
        let tables = [METRICS, STEPS].map(|name| self.directory.join(name));
        match tables.iter().find(|path| path.exists()) {
            Some(path) if !self.resume => Err(Error::msg(format!(
                "expected a directory without a log, found {}; remove the log or choose another directory",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Creates the event file.
    pub fn events(&self) -> Result<EventWriter> {
        if self.resume {
            EventWriter::resume(self.directory, self.steps as u64 + 1)
        } else {
            EventWriter::create(self.directory)
        }
    }

    /// Returns the duration of the run so far, in seconds, from its table of steps.
    pub fn seconds(&self) -> Result<f64> {
        let mut seconds = 0.;
        read_numbers(&self.directory.join(STEPS), |row| seconds = row.get(SECONDS))?;
        Ok(if seconds.is_finite() { seconds } else { 0. })
    }
}
