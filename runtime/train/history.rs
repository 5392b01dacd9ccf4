//! The reports of a training run.

use std::fmt;
use std::path::{Path, PathBuf};

use super::evaluate::Evaluation;
use super::trainer::Monitor;

/// The results and the duration of one epoch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true);
/// let history = trainer.fit(&data, &(), Epochs(2))?;
/// let report = &history.epochs()[1];
/// assert_eq!((report.epoch, report.learning_rate), (2, 0.01));
/// assert_eq!((&report.valid, report.loss()), (&None, report.train.loss));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// The epoch number, starting at 1.
    pub epoch: usize,
    /// The number of optimizer steps in all epochs up to the end of this one.
    pub steps: usize,
    /// The loss, the accuracy and the metrics on the training batches, computed before the optimizer step of each
    /// batch.
    pub train: Evaluation,
    /// The loss, the accuracy and the metrics on the validation data after the epoch, or `None` without validation
    /// data.
    pub valid: Option<Evaluation>,
    /// The learning rate of the parameters in no [group](crate::train::Optimizer::group), in the last step of the
    /// epoch.
    pub learning_rate: f64,
    /// The duration in seconds, including validation.
    pub seconds: f64,
    /// Training examples per second, excluding validation.
    pub examples_per_second: f64,
}

impl EpochReport {
    /// Returns the validation loss or, without validation data, the training loss.
    pub fn loss(&self) -> f64 {
        self.valid.as_ref().unwrap_or(&self.train).loss
    }

    /// Returns a value by name: `loss`, `accuracy`, or the name of a [metric](super::Trainer::metric). The value is
    /// from the validation or, without validation data, from the training.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.valid.as_ref().unwrap_or(&self.train).value(name)
    }
}

/// Formats one line: `epoch 1  loss 0.6231  accuracy 78.31 %  validation loss 0.4512  accuracy 84.10 %  …`.
impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  {}", self.epoch, self.train)?;
        if let Some(valid) = &self.valid {
            write!(f, "  validation {valid}")?;
        }
        write!(f, "  {:.1} s  {:.0} examples/s", self.seconds, self.examples_per_second)
    }
}

/// The reports of all epochs of a training run. [`Display`](fmt::Display) formats them as a table.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let data = (x.clone(), x);
/// let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true);
/// let history = trainer.fit(&data, &data, Epochs(3))?;
/// assert_eq!(history.epochs().len(), 3);
/// assert!(history.best().unwrap().loss() <= history.last().unwrap().loss());
/// assert!(history.unreached().is_empty()); // every parameter had a gradient
/// println!("{history}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) epochs: Vec<EpochReport>,
    pub(super) unreached: Vec<String>,
    pub(super) monitor: Monitor,
    pub(super) stop: Stop,
    pub(super) resumed_from: Option<PathBuf>,
}

/// Why training ended.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Stop;
/// # fn main() -> Result<()> {
/// let net = Linear::config(1, 1).init(&Device::Cpu)?;
/// let x = Tensor::arange(0f32, 4., &Device::Cpu)?.reshape((4, 1))?;
/// let history = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true).fit(&(x.clone(), x), &(), Epochs(2))?;
/// assert_eq!(history.stop(), &Stop::Finished);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// All epochs are finished.
    #[default]
    Finished,
    /// The monitored value did not improve within the number of epochs that [`Patience`](super::Patience) sets.
    EarlyStopping,
    /// A [`Callback`](super::Callback) stopped training.
    Callback,
    /// The user pressed Ctrl-C, with the feature `ctrlc`. The state was saved to this file, from which
    /// [`Trainer::resume`] continues.
    ///
    /// [`Trainer::resume`]: super::Trainer::resume
    Interrupted(PathBuf),
}

impl History {
    /// Returns the reports of all epochs.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    /// Returns the epoch with the best [monitored](super::Trainer::monitor) value, by default the lowest
    /// [`loss`](EpochReport::loss). On a tie, returns the earliest of these epochs. An epoch whose value is NaN is
    /// never the best. Returns `None` if there is no other epoch.
    pub fn best(&self) -> Option<&EpochReport> {
        let value = |epoch: &EpochReport| epoch.value(&self.monitor.name).unwrap_or(f64::NAN);
        let better =
            |best: Option<&'_ EpochReport>, epoch| self.monitor.is_better(value(epoch), best.map(value));
        self.epochs.iter().fold(None, |best, epoch| if better(best, epoch) { Some(epoch) } else { best })
    }

    /// Returns the checkpoint from which the run was [resumed](super::Trainer::resume), or `None` for a new run.
    pub fn resumed_from(&self) -> Option<&Path> {
        self.resumed_from.as_deref()
    }

    /// Returns why training ended.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Returns the report of the last epoch.
    pub fn last(&self) -> Option<&EpochReport> {
        self.epochs.last()
    }

    /// Returns the paths of the trainable parameters that had no gradient in the first step. See
    /// [`audit_gradients`](super::audit_gradients).
    pub fn unreached(&self) -> &[String] {
        &self.unreached
    }
}

/// Formats one row per epoch and marks the best epoch with an asterisk.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["epoch", "train loss", "accuracy", "valid loss", "accuracy", "seconds", "examples/s"];
        write_row(f, ' ', header.map(str::to_owned))?;
        let best = self.best().map(|best| best.epoch);
        for epoch in &self.epochs {
            writeln!(f)?;
            let mark = if best == Some(epoch.epoch) { '*' } else { ' ' };
            write_row(f, mark, cells(epoch))?;
        }
        if let Stop::Interrupted(path) = &self.stop {
            let path = path.display();
            write!(f, "\ninterrupted; saved {path}; call `resume()` before `fit` to continue")?;
        }
        Ok(())
    }
}

/// Returns the cells of the table's row for `epoch`.
fn cells(epoch: &EpochReport) -> [String; 7] {
    let loss = |e: Option<&Evaluation>| e.map_or("–".to_owned(), |e| format!("{:.4}", e.loss));
    let accuracy = |e: Option<&Evaluation>| match e.and_then(|e| e.accuracy) {
        Some(accuracy) => format!("{:.2} %", 100. * accuracy),
        None => "–".to_owned(),
    };
    let train = Some(&epoch.train);
    let valid = epoch.valid.as_ref();
    [
        epoch.epoch.to_string(),
        loss(train),
        accuracy(train),
        loss(valid),
        accuracy(valid),
        format!("{:.1}", epoch.seconds),
        format!("{:.0}", epoch.examples_per_second),
    ]
}

/// Writes a row of the table, with `mark` before the first cell.
fn write_row(f: &mut fmt::Formatter<'_>, mark: char, [epoch, rest @ ..]: [String; 7]) -> fmt::Result {
    write!(f, "{mark}{epoch:>5}")?;
    rest.iter().try_for_each(|cell| write!(f, "  {cell:>10}"))
}
