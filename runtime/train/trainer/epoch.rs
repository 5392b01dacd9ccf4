//! The steps of one epoch.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::module::{Forward, Module};
use crate::signal::IntoTensors;
use crate::train::batch::Batch;
use crate::train::data::Batches;
use crate::train::evaluate::{Evaluation, update_metrics};
use crate::train::history::Stop;
use crate::train::tally::BatchLoss;
use crate::{Error, Result};

use super::Trainer;
use super::callback::{Callback, StepReport};
use super::interrupt::InterruptGuard;
use super::run::Run;
use super::step::Stepped;

impl<M: Module, O: 'static, T: 'static> Trainer<'_, M, O, T> {
    /// Trains on the batches of an epoch. Returns why training stops, or `None` if it continues.
    pub(super) fn train_epoch<D>(
        &mut self,
        run: &mut Run<M>,
        train: &D,
        interrupt: Option<&InterruptGuard>,
    ) -> Result<Option<Stop>>
    where
        D: Batches<Batch: Batch<Target = T>>,
        M: Forward<<D::Batch as Batch>::Input, Output: IntoTensors<Tensors = O>>,
    {
        let mut stop = None;
        for batch in run.begin_epoch(train)? {
            let batch = batch?;
            if batch.examples() == 0 {
                run.stepper.batches += 1;
                continue;
            }
            let report = self.train_batch(run, &batch)?;
            stop = stop.or(self.notify(|callback| callback.on_step(&report))?);
            // A saved state has no accumulated gradients, so training stops and saves only after an optimizer step.
            if run.stepper.has_accumulated() {
                continue;
            }
            if interrupt.is_some_and(InterruptGuard::is_interrupted) {
                stop = Some(interrupted());
            }
            if stop.is_some() {
                return Ok(stop);
            }
            if self.is_checkpoint_due(run) {
                self.save(run, false)?;
            }
        }
        run.stepper.flush(self.model, &self.step)?;
        let losses = run.tally.read()?;
        self.check_losses(run, losses)?;
        Ok(stop)
    }

    /// Trains on a batch and adds its loss and metrics to those of the epoch.
    fn train_batch<B>(&mut self, run: &mut Run<M>, batch: &B) -> Result<StepReport>
    where
        B: Batch<Target = T>,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        let is_first = run.stepper.unreached.is_none();
        let Stepped { mut report, output } = run.stepper.step(self.model, &self.step, batch)?;
        if is_first {
            self.warn_of_unreached(run);
        }
        let compared = (&output, batch.target());
        let losses = run.tally.add(report.batch, &report.loss, report.examples, compared)?;
        self.check_losses(run, losses)?;
        update_metrics(&mut self.metrics, &output, batch.target())?;
        report.epoch_loss = Some(run.tally.loss());
        report.running = self.running(run);
        Ok(report)
    }

    /// Returns the loss and the metrics of the epoch so far, or `None` if the progress is not shown, or if
    /// [`Run::display`] skips this batch. Leaves out a metric that fails: its error is returned at the end of the
    /// epoch.
    pub(super) fn running(&self, run: &mut Run<M>) -> Option<Evaluation> {
        if !self.verbosity.shows_progress() {
            return None;
        }
        let (display, tally) = (&mut run.display, &run.tally);
        let values = || self.metrics.iter().filter_map(|metric| Some((metric.name(), metric.value().ok()?)));
        display.run(|| Some(Evaluation { metrics: values().collect(), ..tally.evaluation()? }))?
    }

    /// Calls a method of each callback. Returns [`Stop::Callback`] if a callback stops training, and `None` otherwise.
    pub(super) fn notify(
        &mut self,
        mut call: impl FnMut(&mut (dyn Callback + '_)) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Stop>> {
        let mut stop = None;
        for callback in &mut self.callbacks {
            if let ControlFlow::Break(()) = call(&mut **callback)? {
                stop = Some(Stop::Callback);
            }
        }
        Ok(stop)
    }

    /// Lists the parameters without a gradient in a warning.
    pub(super) fn warn_of_unreached(&self, run: &mut Run<M>) {
        let unreached = run.stepper.unreached.clone().unwrap_or_default();
        if !unreached.is_empty() {
            let list = unreached.join(", ");
            self.verbosity.line(format_args!("warning: no gradient for {list}"));
        }
        run.history.unreached = unreached;
    }
}

impl<M, O, T> Trainer<'_, M, O, T> {
    /// Returns an error if a loss is not finite, unless such losses are allowed.
    pub(super) fn check_losses(&self, run: &Run<M>, losses: Vec<BatchLoss>) -> Result<()> {
        if self.step.allow_non_finite {
            return Ok(());
        }
        match losses.into_iter().find(|batch| !batch.loss.is_finite()) {
            Some(BatchLoss { batch, loss }) => Err(run.stepper.non_finite(batch, loss, "")),
            None => Ok(()),
        }
    }
}

/// Returns the [`Stop`] after Ctrl-C. Its path is empty until the checkpoint is saved.
pub(super) fn interrupted() -> Stop {
    Stop::Interrupted(PathBuf::new())
}

/// Returns the error for training data without examples.
pub(super) fn no_examples() -> Error {
    Error::msg("the training data has no examples")
}
