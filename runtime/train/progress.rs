//! Terminal output of a training run: a progress bar during an epoch and a line after it.
//!
//! All output goes to standard error.

use std::fmt::Display;
use std::io::Write;
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Result;

use super::history::EpochReport;
use super::trainer::{Callback, FitPlan, StepReport};

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
    fn bar(self, epoch: usize, epochs: usize, batches: Option<usize>) -> EpochBar {
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

/// The callback that writes a line after each epoch and shows a progress bar during each epoch.
pub(super) struct ProgressLines {
    verbosity: Verbosity,
    plan: Option<FitPlan>,
    /// The bar of the running epoch.
    bar: Option<EpochBar>,
}

impl ProgressLines {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, plan: None, bar: None }
    }
}

impl Callback for ProgressLines {
    fn on_fit_start(&mut self, plan: &FitPlan) -> Result<()> {
        self.plan = Some(plan.clone());
        Ok(())
    }

    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        if self.bar.is_none() {
            let (epochs, batches) = self.plan.as_ref().map_or((0, None), |plan| (plan.epochs, plan.batches));
            self.bar = Some(self.verbosity.bar(step.epoch, epochs, batches));
        }
        if let Some(bar) = &self.bar {
            bar.show(step.batch, step.epoch_loss.unwrap_or(f64::NAN));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        self.bar = None;
        self.verbosity.line(epoch);
        Ok(ControlFlow::Continue(()))
    }
}

/// The progress bar of one epoch. Dropping it clears the bar.
struct EpochBar(ProgressBar);

impl EpochBar {
    /// Shows that `batches` batches are finished, and their mean loss.
    fn show(&self, batches: usize, loss: f64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("loss {loss:.4}"));
        }
        self.0.set_position(batches as u64);
    }
}

impl Drop for EpochBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
