//! The log of a run, as files in its directory: its settings, tables of its metrics, and events for TensorBoard.
//!
//! [`Trainer::log`](super::Trainer::log) and [`Trainer::checkpoint`](super::Trainer::checkpoint) write these files:
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the network, its number of parameters, the optimizer and the other settings, and versions |
//! | `metrics.csv` | a row for each epoch: the loss and the metrics of training and validation |
//! | `steps.csv` | a row for every tenth step by default: its loss, its learning rate and the norm of its gradients |
//! | `events.out.tfevents.*` | the same values for [TensorBoard](https://www.tensorflow.org/tensorboard) |
//! | `curves.svg`, `curves.png` | charts of these values, with the feature `plots` |
//!
//! Each row is written immediately, so that no row is lost if the process is killed. A run that is
//! [resumed](super::Trainer::resume) replaces the rows after the checkpoint from which it continues.
//!
//! - The columns of `metrics.csv` are `epoch`, `step`, the values of the [`Evaluation`](super::Evaluation)s with the
//!   prefixes `train_` and `valid_`, `learning_rate`, `seconds` and `examples_per_second`. `step` is the number of
//!   optimizer steps so far.
//! - The columns of `steps.csv` are `step`, `epoch`, `batch`, `loss`, `learning_rate`, `gradient_norm` and `seconds`.
//!   The norm is empty without [`clip_norm`](super::Trainer::clip_norm). `seconds` is the time since training started.
//!   In a resumed run, the time that the earlier process ran after the checkpoint does not count.
//! - The tags of TensorBoard are `loss/train`, `loss/valid`, `accuracy/train` and so on for each epoch, and
//!   `loss/step`, `lr` and `gradient_norm` for single steps. TensorBoard's steps are optimizer steps.

mod csv;
#[cfg(feature = "plots")]
mod curves;
mod run_log;
mod start;
mod table;
mod tensorboard;

use serde_json::Value;

use crate::Result;

use super::trainer::Callback;

#[cfg(feature = "plots")]
pub use curves::plot_curves;
use run_log::RunLog;
pub(super) use start::{LogSettings, Start};
pub use tensorboard::EventWriter;

/// Begins the log of a run. Adds the callbacks that write the log to the list `callbacks`. `config` describes the
/// settings.
///
/// # Errors
/// Fails if a setting is invalid, if a file cannot be written, or if the directory has the log of another run.
pub(super) fn begin(
    start: &Start<'_>,
    config: Value,
    callbacks: &mut Vec<Box<dyn Callback + '_>>,
) -> Result<()> {
    callbacks.push(Box::new(RunLog::begin(start, config)?));
    #[cfg(feature = "plots")]
    callbacks.push(Box::new(curves::CurveDrawer::new(start.directory.to_path_buf())));
    Ok(())
}

// The names of the files.
const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.csv";
const STEPS: &str = "steps.csv";
// The names of columns.
const EPOCH: &str = "epoch";
const STEP: &str = "step";
const LOSS: &str = "loss";
const LEARNING_RATE: &str = "learning_rate";
const SECONDS: &str = "seconds";
// The prefixes of the columns with values of the training and of the validation.
const TRAIN_PREFIX: &str = "train_";
const VALID_PREFIX: &str = "valid_";
