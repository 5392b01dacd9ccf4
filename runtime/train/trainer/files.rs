//! The checkpoints in a directory. Their names tell which is the last and which the best. An additional file with this
//! information could contradict the checkpoints.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::checkpoint::with_context;

const EXTENSION: &str = ".safetensors";
const BEST: &str = "-best";

/// When a state was saved, and whether it is the best so far.
///
/// The name of the file contains the position, as in `step-00001000.safetensors` for a state in the middle of an epoch,
/// and `step-00001200-epoch-3-best.safetensors` for a state after the third epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The number of optimizer steps.
    pub step: usize,
    /// The number of the epoch that was just finished, or 0 in the middle of an epoch.
    pub epoch: usize,
    pub is_best: bool,
}

impl Position {
    /// Returns the name of the file.
    pub fn file_name(self) -> String {
        let Self { step, epoch, is_best } = self;
        let epoch = if epoch == 0 { String::new() } else { format!("-epoch-{epoch}") };
        let best = if is_best { BEST } else { "" };
        format!("step-{step:08}{epoch}{best}{EXTENSION}")
    }

    /// Parses the name of a file. Returns `None` for a file that is not a checkpoint of a trainer.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(EXTENSION)?;
        let (stem, is_best) = match stem.strip_suffix(BEST) {
            Some(stem) => (stem, true),
            None => (stem, false),
        };
        let numbers = stem.strip_prefix("step-")?;
        let (step, epoch) = numbers.split_once("-epoch-").unwrap_or((numbers, "0"));
        let position = Self { step: step.parse().ok()?, epoch: epoch.parse().ok()?, is_best };
        (position.file_name() == name).then_some(position)
    }
}

/// Returns the checkpoints in a directory, the newest first. Returns an empty list if the directory does not exist.
pub(super) fn list(directory: &Path) -> Result<Vec<(Position, PathBuf)>> {
    let mut files = Vec::new();
    for name in names(directory)? {
        if let Some(position) = Position::parse(&name) {
            files.push((position, directory.join(name)));
        }
    }
    files.sort_unstable_by_key(|(position, _)| Reverse(*position));
    Ok(files)
}

/// Returns the names of the files in a directory, or an empty list if the directory does not exist.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return with_context(directory.display(), Err(error)),
    };
    let names =
        entries.map(|entry| Ok(with_context(directory.display(), entry)?.file_name().into_string().ok()));
    Ok(names.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Removes all checkpoints except for the `keep` newest and the best. Also keeps the checkpoint that was the best when
/// the oldest of the `keep` newest was saved: if all newer ones are damaged, a run resumes from the oldest and may need
/// the checkpoint that was the best at that time.
pub(super) fn prune(directory: &Path, keep: usize) -> Result<()> {
    let files = list(directory)?;
    let keep = keep.max(1);
    let best = |start: usize| (start..files.len()).find(|index| files[*index].0.is_best);
    let kept = [best(0), best(keep - 1)];
    for (index, (_, path)) in files.iter().enumerate().skip(keep) {
        if !kept.contains(&Some(index)) {
            with_context(path.display(), fs::remove_file(path))?;
        }
    }
    Ok(())
}

/// Creates the directory if it does not exist, and removes the temporary files that killed processes left.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    with_context(directory.display(), fs::create_dir_all(directory))?;
    for name in names(directory)? {
        let target = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
        if target.is_some_and(|target| Position::parse(target).is_some()) {
            with_context(directory.display(), fs::remove_file(directory.join(name)))?;
        }
    }
    Ok(())
}

/// Returns the newest checkpoint that a [`Trainer`](super::Trainer::checkpoint) saved in `directory`, or `None` if
/// there is none.
///
/// # Errors
/// Fails if the directory cannot be read.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::train::last_checkpoint;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let runs = directory.path();
/// let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.01)).quiet(true);
/// trainer = trainer.checkpoint(runs.join("a"), Every::Epoch);
/// trainer.fit(&(x.clone(), x), &(), Epochs(2))?;
/// // The file has the network's tensors under the prefix `model.`.
/// let last = last_checkpoint(runs.join("a"))?.expect("the trainer saved a checkpoint");
/// let mut copy = Linear::config(1, 1).init(&Device::Cpu)?;
/// copy.load_with(Load::new(last).prefix("model."))?;
/// assert_eq!(copy.weight().to_vec2::<f32>()?, line.weight().to_vec2::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub fn last_checkpoint(directory: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    Ok(list(directory.as_ref())?.into_iter().next().map(|(_, path)| path))
}

/// Returns the checkpoint of the best epoch that a [`Trainer`](super::Trainer::checkpoint) saved in `directory`, or
/// `None` if there is none. [`Trainer::monitor`](super::Trainer::monitor) defines the best.
///
/// The file has the tensors of the network under the prefix `model.`, and with [`ema`](super::Trainer::ema) its average
/// under `average.module.`.
///
/// # Errors
/// Fails if the directory cannot be read.
///
/// # Examples
/// ```
/// use sconce::train::best_checkpoint;
///
/// # fn main() -> sconce::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// assert_eq!(best_checkpoint(directory.path())?, None);
/// # Ok(())
/// # }
/// ```
pub fn best_checkpoint(directory: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let files = list(directory.as_ref())?;
    Ok(files.into_iter().find(|(position, _)| position.is_best).map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_best_checkpoint_that_precedes_the_newest() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let at = |step, epoch, is_best| Position { step, epoch, is_best };
        for position in [at(6, 0, true), at(12, 1, true), at(15, 0, false), at(20, 0, false), at(24, 2, true)]
        {
            fs::write(directory.path().join(position.file_name()), "")?;
        }
        prune(directory.path(), 2)?;
        let kept: Vec<_> = list(directory.path())?.into_iter().map(|(position, _)| position).collect();
        assert_eq!(kept, [at(24, 2, true), at(20, 0, false), at(12, 1, true)]);
        Ok(())
    }

    #[test]
    fn names_are_parsed_and_ordered() {
        let at = |step, epoch, is_best| Position { step, epoch, is_best };
        let ordered = [at(3, 0, false), at(10, 0, false), at(10, 2, true), at(123_456_789, 4, false)];
        assert!(ordered.is_sorted());
        for position in ordered {
            assert_eq!(Position::parse(&position.file_name()), Some(position));
        }
        for other in ["model.safetensors", "step-3.safetensors", "step-00000003-epoch-0.safetensors", "step-"]
        {
            assert_eq!(Position::parse(other), None, "{other}");
        }
    }
}
