//! The state of an unfinished epoch.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::train::evaluate::Evaluation;
use crate::train::trainer::StepReport;

use super::pace::Pace;

/// The progress and the values of an unfinished epoch.
pub(super) struct Status {
    /// The number of the epoch and of all epochs, such as `epoch 3/20`.
    pub name: String,
    /// The number of finished batches.
    pub batch: usize,
    /// The number of batches of the epoch, if it is known.
    pub batches: Option<usize>,
    /// The most recently computed loss and metrics of the epoch.
    running: Option<Evaluation>,
    start: Instant,
    pace: Pace,
}

impl Status {
    pub fn new(name: String, batches: Option<usize>, start: Instant) -> Self {
        Self { name, batch: 0, batches, running: None, start, pace: Pace::default() }
    }

    /// Adds a finished batch.
    pub fn add(&mut self, step: &StepReport) {
        self.pace.add(step.examples);
        self.batch = step.batch;
        if step.running.is_some() {
            self.running.clone_from(&step.running);
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns the time left, the speed, the loss and the metrics. The metrics are last, because a narrow terminal cuts
    /// them off.
    pub fn text(&self) -> String {
        let elapsed = self.elapsed();
        let mut text = String::new();
        let batches_left = self.batches.map(|batches| batches.saturating_sub(self.batch));
        if let Some(left) = batches_left.and_then(|batches| self.pace.time_left(elapsed, batches)) {
            let _ = write!(text, "{left} left  ");
        }
        let _ = write!(text, "{:.0} examples/s", self.pace.examples_per_second(elapsed));
        if let Some(running) = &self.running {
            let _ = write!(text, "  {running}");
        }
        text
    }
}
