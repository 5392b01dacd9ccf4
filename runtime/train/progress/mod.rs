//! The output of a training run: a progress bar during an epoch, and a line after it. Without the feature `progress`,
//! or if standard error is not a terminal, lines take the place of the bar.
//!
//! All output goes to standard error.

#[cfg(feature = "progress")]
mod bar;
mod line_timer;
mod pace;
mod status;

use std::fmt::Display;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use crate::Result;

use super::history::EpochReport;
use super::trainer::{Callback, FitPlan, StepReport};

#[cfg(feature = "progress")]
use bar::Bar;
use line_timer::LineTimer;
use status::Status;

/// The kinds of output that are enabled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verbosity {
    /// Show the progress during each epoch, if `lines` is set too.
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

    /// Returns `true` if the progress during each epoch is shown.
    pub(super) fn shows_progress(self) -> bool {
        self.bar && self.lines
    }
}

/// The callback that shows the progress during each epoch and writes a line after it.
pub(super) struct ProgressLines {
    verbosity: Verbosity,
    epochs: usize,
    /// The number of batches of an epoch, or `None` if it is unknown.
    batches: Option<usize>,
    epoch_start: Instant,
    epoch: Option<EpochProgress>,
}

impl ProgressLines {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, epochs: 0, batches: None, epoch_start: Instant::now(), epoch: None }
    }
}

impl Callback for ProgressLines {
    fn on_fit_start(&mut self, plan: &FitPlan) -> Result<()> {
        self.epochs = plan.epochs;
        self.batches = plan.batches;
        self.epoch_start = Instant::now();
        Ok(())
    }

    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        if self.verbosity.shows_progress() {
            let name = || format!("epoch {}/{}", step.epoch, self.epochs);
            let status = || Status::new(name(), self.batches, self.epoch_start);
            self.epoch.get_or_insert_with(|| EpochProgress::new(status())).show(step);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        self.epoch = None;
        self.verbosity.line(epoch);
        self.epoch_start = Instant::now();
        Ok(ControlFlow::Continue(()))
    }
}

/// The progress of one epoch, and where it is shown.
struct EpochProgress {
    status: Status,
    output: Output,
}

enum Output {
    /// A bar on a terminal.
    #[cfg(feature = "progress")]
    Bar(Bar),
    /// Lines without control characters, for a file or a pipe.
    Lines(LineTimer),
}

impl Output {
    #[cfg_attr(not(feature = "progress"), expect(unused_variables))]
    fn new(status: &Status) -> Self {
        #[cfg(feature = "progress")]
        if let Some(bar) = Bar::new(status) {
            return Self::Bar(bar);
        }
        Self::Lines(LineTimer::default())
    }
}

impl EpochProgress {
    fn new(status: Status) -> Self {
        let output = Output::new(&status);
        Self { status, output }
    }

    /// Shows a finished batch.
    fn show(&mut self, step: &StepReport) {
        self.status.add(step);
        let Status { name, batch, batches, .. } = &self.status;
        match &mut self.output {
            #[cfg(feature = "progress")]
            Output::Bar(bar) => {
                bar.show_position(&self.status);
                if step.running.is_some() {
                    bar.show_text(&self.status);
                }
            }
            Output::Lines(timer) => {
                if timer.is_due(self.status.elapsed(), *batch, *batches) {
                    let total = batches.map_or(" batches".into(), |batches| format!("/{batches}"));
                    let text = self.status.text();
                    let _ = writeln!(std::io::stderr(), "{name}  {batch}{total}  {text}");
                }
            }
        }
    }
}
