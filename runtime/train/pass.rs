//! One epoch: an optimizer step for each training batch, then validation.

use std::time::Instant;

use candle_core::Tensor;

use crate::kernels::backward;
use crate::module::{Forward, Mode};
use crate::signal::Signal;
use crate::{Error, Result};

use super::audit::audit_gradients;
use super::data::Batches;
use super::evaluate::{BatchLoss, Evaluation, Tally, evaluate_with, is_empty, run_network, scalar};
use super::history::EpochReport;
use super::optim::Step;
use super::schedule::Every;
use super::trainer::Trainer;

/// One pass over the training data, and its settings.
pub(super) struct Pass<'t, 'a, M> {
    pub trainer: &'t Trainer<'a, M>,
    /// The number of trainable parameters.
    pub trainable: usize,
    /// The optimizer's initial learning rates.
    pub base_rates: &'t [f64],
    /// The number of this epoch, starting at 1.
    pub epoch: usize,
    /// The number of epochs.
    pub epochs: usize,
}

/// The result of training for one epoch.
pub(super) struct Trained {
    evaluation: Evaluation,
    start: Instant,
    /// The duration, without validation.
    seconds: f64,
}

impl<M: Forward<Signal, Output = Signal>> Pass<'_, '_, M> {
    /// Trains on every batch. `steps` is the number of steps in all epochs so far. In the first step, stores
    /// the names of the parameters that have no gradient in `unreached`.
    pub fn train(
        &self,
        optimizer: &mut dyn Step,
        train: &impl Batches,
        steps: &mut usize,
        unreached: &mut Vec<String>,
    ) -> Result<Trained> {
        let start = Instant::now();
        let bar = self.trainer.verbosity.bar(self.epoch, self.epochs, train.len_hint());
        let mut tally = Tally::default();
        for (index, batch) in train.epoch()?.enumerate() {
            let (input, target) = batch?;
            if is_empty(&input) {
                continue;
            }
            self.set_learning_rates(optimizer, *steps)?;
            let mut output = None;
            let loss = optimizer.step_with(&mut || {
                let prediction = run_network(self.trainer.model, &input, Mode::Train)?;
                let loss = self.trainer.loss.forward(&prediction, &target)?;
                // Check only the first loss of each step: a line search may visit points with a non-finite loss.
                if output.is_none() {
                    // Reading a loss from a GPU would synchronize the GPU, so losses on a GPU are read later, many at
                    // a time.
                    if loss.device().is_cpu() {
                        self.check(BatchLoss { batch: index + 1, loss: scalar(&loss)? })?;
                    }
                    if *steps == 0 {
                        *unreached = self.audit(&loss)?;
                    }
                    output = Some(prediction);
                }
                Ok(loss)
            })?;
            *steps += 1;
            if let Some(output) = output {
                self.check_all(tally.add(index + 1, &loss, &output, &target)?)?;
            }
            bar.advance(tally.loss());
        }
        self.check_all(tally.read()?)?;
        let evaluation = tally.evaluation().ok_or_else(|| Error::msg("the training data has no examples"))?;
        Ok(Trained { evaluation, start, seconds: start.elapsed().as_secs_f64() })
    }

    /// Evaluates the validation data and returns the report of the epoch.
    pub fn report(
        &self,
        trained: Trained,
        learning_rate: f64,
        valid: Option<&dyn Batches>,
    ) -> Result<EpochReport> {
        let Trained { evaluation: train, start, seconds } = trained;
        let valid =
            valid.map(|data| evaluate_with(self.trainer.model, &*self.trainer.loss, data)).transpose()?;
        Ok(EpochReport {
            epoch: self.epoch,
            train,
            valid,
            learning_rate,
            seconds: start.elapsed().as_secs_f64(),
            examples_per_second: train.examples as f64 / seconds.max(f64::MIN_POSITIVE),
        })
    }

    /// Sets the scheduled learning rates of the next step.
    fn set_learning_rates(&self, optimizer: &mut dyn Step, steps: usize) -> Result<()> {
        let Some((schedule, every)) = &self.trainer.schedule else { return Ok(()) };
        let step = match every {
            Every::Step => steps,
            Every::Epoch => self.epoch - 1,
        };
        let rates: Vec<f64> = self.base_rates.iter().map(|base| schedule.rate(*base, step)).collect();
        optimizer.set_learning_rates(&rates).map_err(|error| {
            Error::msg(format!("invalid learning rate from the schedule for step {step}: {error}"))
        })
    }

    /// Returns an error if the loss is not finite, unless `allow_non_finite` is set.
    fn check(&self, BatchLoss { batch, loss }: BatchLoss) -> Result<()> {
        if loss.is_finite() || self.trainer.allow_non_finite {
            return Ok(());
        }
        Err(Error::msg(format!(
            "epoch {}, batch {batch}: the loss is {loss}; a lower learning rate may help",
            self.epoch
        )))
    }

    /// Checks several losses in order.
    fn check_all(&self, losses: Vec<BatchLoss>) -> Result<()> {
        losses.into_iter().try_for_each(|loss| self.check(loss))
    }

    /// Returns the names of the parameters for which `loss` has no gradient, and lists them in a warning.
    fn audit(&self, loss: &Tensor) -> Result<Vec<String>> {
        let names = audit_gradients(self.trainer.model, &backward(loss)?);
        if names.len() == self.trainable {
            return Err(Error::msg(
                "no parameter has a gradient: the loss does not depend on the parameters",
            ));
        }
        if !names.is_empty() {
            let list = names.join(", ");
            self.trainer.verbosity.line(format_args!("warning: no gradient for {list}"));
        }
        Ok(names)
    }
}
