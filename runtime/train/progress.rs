//! What a training run shows on the terminal: a bar while an epoch runs, a line when it is done.
//!
//! All of it goes to the standard error, so that the standard output is the program's own.

use std::fmt::Display;
use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much of a run is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verbosity {
    pub(super) bar: bool,
    pub(super) lines: bool,
}

impl Verbosity {
    /// A line of its own, unless none are wanted.
    pub(super) fn line(self, text: impl Display) {
        if self.lines {
            // Training goes on where nobody reads what it says.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// The bar of one epoch of so many batches, as far as their number is known.
    pub(super) fn bar(self, epoch: usize, epochs: usize, batches: Option<usize>) -> EpochBar {
        // indicatif itself hides a bar where the standard error is no terminal.
        let shown = self.bar && self.lines;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
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

/// The bar of one epoch; it is gone when the epoch ends, also by an error.
pub(super) struct EpochBar(ProgressBar);

impl EpochBar {
    /// One batch more is done.
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
