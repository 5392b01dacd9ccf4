//! Terminal output of a training run: a progress bar during an epoch and a line after it.
//!
//! All output goes to standard error.

use std::fmt::Display;
use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The kinds of terminal output that are enabled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verbosity {
    /// Show a progress bar during each epoch, if `lines` is set too.
    pub(super) bar: bool,
    /// Write a line after each epoch, and warnings.
    pub(super) lines: bool,
}

impl Verbosity {
    /// Writes a line if lines are enabled.
    pub(super) fn line(self, text: impl Display) {
        if self.lines {
            // A closed standard error stream must not stop training.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Creates the progress bar of one epoch. `batches` is the number of batches, or `None` if the number is unknown.
    pub(super) fn bar(self, epoch: usize, epochs: usize, batches: Option<usize>) -> EpochBar {
        // indicatif hides the bar if standard error is not a terminal.
        let is_shown = self.bar && self.lines;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(batches.map(|n| n as u64), target);
        let template = match batches {
            Some(_) => "{prefix} {wide_bar} {pos}/{len}  {msg}  {eta}",
            None => "{prefix} {spinner} {pos} batches  {msg}  {elapsed}",
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        EpochBar(bar.with_prefix(format!("epoch {epoch}/{epochs}")))
    }
}

/// The progress bar of one epoch. Dropping it clears the bar.
pub(super) struct EpochBar(ProgressBar);

impl EpochBar {
    /// Advances the bar by one batch and shows `loss`.
    pub(super) fn advance(&self, loss: f64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("loss {loss:.4}"));
        }
        self.0.inc(1);
    }
}

impl Drop for EpochBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
