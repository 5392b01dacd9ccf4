//! Scalars for [TensorBoard](https://www.tensorflow.org/tensorboard).

mod crc32c;
mod event;
mod record;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::checkpoint::with_context;

use event::{What, event};
use record::record;

/// The start of the names of event files. TensorBoard reads the files of a directory whose names contain this text, in
/// the order of their names.
const PREFIX: &str = "events.out.tfevents.";

/// Writes scalars to an event file for TensorBoard. Each call writes to the file immediately, so that nothing is lost
/// if the process is killed.
///
/// [`Trainer::log`](crate::train::Trainer::log) writes such a file. Use this type in your own training loop:
///
/// ```
/// use sconce::train::log::EventWriter;
///
/// # fn main() -> sconce::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let runs = directory.path();
/// let mut events = EventWriter::create(runs.join("a"))?;
/// for step in 1..=100 {
///     events.scalar("loss/train", step, 1. / step as f64)?;
/// }
/// // `tensorboard --logdir runs` shows the curve.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Creates a new event file in `directory`, which is created if it does not exist.
    ///
    /// # Errors
    /// Fails if the directory or the file cannot be created.
    pub fn create(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        with_context(directory.display(), fs::create_dir_all(directory))?;
        let newest = newest_time(directory)?;
        let seconds = (now() as u64).max(newest.map_or(0, |newest| newest.saturating_add(1)));
        let path = directory.join(format!("{PREFIX}{seconds:010}.{}.{}.0", host(), std::process::id()));
        let file = with_context(path.display(), File::create_new(&path))?;
        let mut writer = Self { file, path };
        writer.write(0, &What::FileVersion)?;
        Ok(writer)
    }

    /// Creates a new event file for a run that continues at `step`. TensorBoard discards the events of the earlier
    /// files in `directory` that have the step `step` or a later one.
    ///
    /// # Errors
    /// Fails if the directory or the file cannot be created.
    ///
    /// # Examples
    /// ```
    /// use sconce::train::log::EventWriter;
    ///
    /// # fn main() -> sconce::Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// let mut events = EventWriter::create(directory.path())?;
    /// for step in 1..=7 {
    ///     events.scalar("loss", step, 0.5)?;
    /// }
    /// // The program was killed, and continues from a checkpoint of step 4.
    /// let mut events = EventWriter::resume(directory.path(), 5)?;
    /// events.scalar("loss", 5, 0.25)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(directory: impl AsRef<Path>, step: u64) -> Result<Self> {
        let mut writer = Self::create(directory)?;
        writer.write(step, &What::SessionStart)?;
        Ok(writer)
    }

    /// Writes a value. A `/` in the tag separates a group of charts from the name of a chart, as in `loss/train`.
    /// TensorBoard stores values in single precision.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.scalars(step, &[(tag, value)])
    }

    /// Writes several values of the same step.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        self.write(step, &What::Scalars(values))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, step: u64, what: &What<'_>) -> Result<()> {
        let record = record(&event(now(), step, what));
        with_context(self.path.display(), self.file.write_all(&record))
    }
}

/// Returns the seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0., |duration| duration.as_secs_f64())
}

/// Returns the latest time in the names of the event files in `directory`, or `None` if there are no event files.
fn newest_time(directory: &Path) -> Result<Option<u64>> {
    let mut newest = None;
    for entry in with_context(directory.display(), fs::read_dir(directory))? {
        let name = with_context(directory.display(), entry)?.file_name();
        newest = newest.max(name.to_str().and_then(time));
    }
    Ok(newest)
}

/// Returns the time in the name of an event file.
fn time(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Returns the name of this machine, without the characters that a file name might not allow.
fn host() -> String {
    let variables = ["HOSTNAME", "COMPUTERNAME"].into_iter();
    let names = variables.filter_map(|name| std::env::var(name).ok());
    let name = names.chain(fs::read_to_string("/proc/sys/kernel/hostname")).next().unwrap_or_default();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(is_allowed).take(64).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_comes_after_all_others_by_name() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let paths = (0..3).map(|_| Ok(EventWriter::create(directory.path())?.path));
        assert!(paths.collect::<Result<Vec<_>>>()?.is_sorted_by(|a, b| a < b));
        Ok(())
    }

    #[test]
    fn events_equal_those_of_tensorboard() {
        // Recorded by `golden/events.py`.
        let golden = include_bytes!("golden/events.bin");
        let wall_time = 1_700_000_000.5;
        let values = [("loss/train", 0.5), ("accuracy/valid", 0.875)];
        let written = [
            event(wall_time, 0, &What::FileVersion),
            event(wall_time, 300, &What::SessionStart),
            event(wall_time, 0, &What::Scalars(&values[..1])),
            event(wall_time, 300, &What::Scalars(&values)),
            event(wall_time, 1 << 40, &What::Scalars(&[("loss/valid", f64::NAN), ("lr", 1e-3)])),
        ];
        let written: Vec<u8> = written.iter().flat_map(|event| record(event)).collect();
        assert_eq!(written, golden);
    }
}
