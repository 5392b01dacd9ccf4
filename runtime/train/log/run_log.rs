//! The callback that writes the files of a run.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::Result;
use crate::checkpoint::write_atomically;
use crate::train::evaluate::Evaluation;
use crate::train::history::EpochReport;
use crate::train::trainer::{Callback, StepReport};

use super::start::Start;
use super::table::{Cell, Table, number};
use super::tensorboard::EventWriter;
use super::{CONFIG, EPOCH, LEARNING_RATE, LOSS, METRICS, SECONDS, STEP, STEPS, TRAIN_PREFIX, VALID_PREFIX};

/// The setting that is known only after the first batch.
const BATCH_SIZE: &str = "batch_size";

/// Writes the files of a run.
pub(super) struct RunLog {
    directory: PathBuf,
    config: Value,
    metrics: Table,
    steps: Table,
    events: EventWriter,
    /// The number of optimizer steps between two rows of `steps.csv`.
    every: usize,
    start: Instant,
    /// The time of the run before `start`, in seconds.
    earlier_seconds: f64,
}

impl RunLog {
    /// Begins the log of a run. `config` describes its settings.
    ///
    /// # Errors
    /// Fails if a setting is invalid, if a file cannot be written, or if the directory has the log of another run.
    pub fn begin(start: &Start<'_>, config: Value) -> Result<Self> {
        start.prepare()?;
        let directory = start.directory.to_path_buf();
        let mut log = Self {
            config,
            metrics: Table::open(directory.join(METRICS), EPOCH, start.epochs)?,
            steps: Table::open(directory.join(STEPS), STEP, start.steps)?,
            events: start.events()?,
            every: start.every,
            start: Instant::now(),
            earlier_seconds: start.seconds()?,
            directory,
        };
        if start.resume {
            log.continue_config();
        }
        log.write_config()?;
        Ok(log)
    }

    /// Copies the batch size that an earlier process added to the settings.
    fn continue_config(&mut self) {
        let text = fs::read_to_string(self.directory.join(CONFIG)).unwrap_or_default();
        if let Ok(earlier) = serde_json::from_str::<Value>(&text) {
            self.config[BATCH_SIZE] = earlier[BATCH_SIZE].clone();
        }
    }

    /// Writes the settings of the run.
    fn write_config(&self) -> Result<()> {
        let path = self.directory.join(CONFIG);
        write_atomically(path, |file| Ok(writeln!(file, "{:#}", self.config)?))
    }

    /// Adds the size of the first batch to the settings.
    fn complete_config(&mut self, step: &StepReport) -> Result<()> {
        let batch_size = &mut self.config[BATCH_SIZE];
        if !batch_size.is_null() {
            return Ok(());
        }
        *batch_size = step.examples.into();
        self.write_config()
    }

    fn write_step(&mut self, step: &StepReport) -> Result<()> {
        let loss = step.loss()?;
        let seconds = self.earlier_seconds + self.start.elapsed().as_secs_f64();
        let norm = step.gradient_norm;
        self.steps.append(&[
            cell(STEP, step.step.to_string()),
            cell(EPOCH, step.epoch.to_string()),
            cell("batch", step.batch.to_string()),
            cell(LOSS, number(loss)),
            cell(LEARNING_RATE, number(step.learning_rate)),
            cell("gradient_norm", norm.map_or(String::new(), number)),
            cell(SECONDS, format!("{seconds:.3}")),
        ])?;
        let mut scalars = vec![("loss/step", loss), ("lr", step.learning_rate)];
        scalars.extend(norm.map(|norm| ("gradient_norm", norm)));
        self.events.scalars(step.step as u64, &scalars)
    }

    fn write_epoch(&mut self, epoch: &EpochReport) -> Result<()> {
        let mut row = vec![cell(EPOCH, epoch.epoch.to_string()), cell(STEP, epoch.steps.to_string())];
        let mut scalars = Vec::new();
        for (prefix, tag, evaluation) in
            [(TRAIN_PREFIX, "train", Some(&epoch.train)), (VALID_PREFIX, "valid", epoch.valid.as_ref())]
        {
            for (name, value) in evaluation.into_iter().flat_map(Evaluation::values) {
                row.push(cell(&format!("{prefix}{name}"), number(value)));
                scalars.push((format!("{name}/{tag}"), value));
            }
        }
        row.push(cell(LEARNING_RATE, number(epoch.learning_rate)));
        row.push(cell(SECONDS, format!("{:.3}", epoch.seconds)));
        row.push(cell("examples_per_second", format!("{:.1}", epoch.examples_per_second)));
        self.metrics.append(&row)?;
        let scalars: Vec<(&str, f64)> = scalars.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        self.events.scalars(epoch.steps as u64, &scalars)
    }
}

impl Callback for RunLog {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        self.complete_config(step)?;
        if step.updated && step.step.is_multiple_of(self.every) {
            self.write_step(step)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn on_epoch(&mut self, epoch: &EpochReport) -> Result<ControlFlow<()>> {
        self.write_epoch(epoch)?;
        Ok(ControlFlow::Continue(()))
    }
}

fn cell(name: &str, value: String) -> Cell {
    (name.to_owned(), value)
}
