//! A step of several ranks.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};

use crate::kernels::backward;
use crate::module::{Forward, Module};
use crate::signal::IntoTensors;
use crate::train::batch::Batch;
use crate::train::distributed::{Gradients, Ranks, Reduced};
use crate::train::tally::class_counts;
use crate::train::trainer::callback::StepReport;
use crate::train::trainer::settings::StepSettings;
use crate::train::trainer::step::{Stepper, forward};
use crate::{Error, Result, random};

use super::round::{BatchResult, Round, RoundResult};

/// The result of a round.
pub(super) struct SteppedOnRanks<O> {
    pub report: StepReport,
    /// The output for the batch of this rank, if it has one.
    pub output: Option<O>,
    /// The sums over all ranks of the two counts of the accuracy.
    pub correct: Option<[f64; 2]>,
}

/// The evaluation of a batch on one rank.
struct Evaluated<O> {
    loss: Option<Tensor>,
    output: Option<O>,
    result: BatchResult,
}

impl<M: Module> Stepper<M> {
    /// Trains on the batches of a round, as [`step`](Self::step) does on one batch. `batch` is that of this rank. With
    /// synchronized batch norm, a rank without a batch passes an earlier one, whose gradients do not count.
    pub(super) fn step_on_ranks<B, O: 'static>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        ranks: &Arc<Ranks>,
        batch: Option<&B>,
        round: &Round,
    ) -> Result<SteppedOnRanks<O>>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        self.set_learning_rate(settings)?;
        self.batches += round.batches;
        let earlier_steps = self.steps;
        let examples = round.examples[ranks.rank()];
        let own = batch.filter(|_| examples > 0);
        let evaluate = || self.evaluate_on_rank(model, settings, batch, own);
        let Evaluated { loss, output, result } = ranks.with_batch_norm(examples, evaluate)?;
        let backward = || self.finish_round(model, settings, ranks, loss.as_ref(), round, result);
        let (numbers, gradient_norm) = ranks.with_batch_norm(examples, backward)?;
        let result = RoundResult::new(round, &numbers);
        Ok(SteppedOnRanks {
            report: StepReport {
                epoch: self.epochs + 1,
                batch: self.batches,
                step: self.steps,
                updated: self.steps > earlier_steps,
                examples: round.total(),
                learning_rate: self.optimizer.learning_rate(),
                gradient_norm,
                epoch_loss: None,
                running: None,
                loss: Tensor::new(result.loss, &Device::Cpu)?,
            },
            output: output.filter(|_| own.is_some()),
            correct: result.correct,
        })
    }

    /// Runs the network on `batch`, if there is one. Checks the loss and counts the correct elements if the batch is
    /// `own`, the rank's own batch.
    fn evaluate_on_rank<B, O: 'static>(
        &self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        batch: Option<&B>,
        own: Option<&B>,
    ) -> Result<Evaluated<O>>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        let random_state = random::state();
        let evaluated = batch.map(|batch| forward(model, settings, batch)).transpose()?;
        let mut result = BatchResult::default();
        if let (Some(batch), Some((loss, output))) = (own, &evaluated) {
            self.check_loss(model, settings, batch, loss, &random_state)?;
            result = BatchResult::new(loss, class_counts(output, batch.target())?)?;
        }
        let (loss, output) = evaluated.unzip();
        Ok(Evaluated { loss, output, result })
    }

    /// Runs the backward pass. Takes a step or, with accumulation, adds the gradients to those of earlier rounds.
    /// Returns the numbers of the results of all ranks, and the norm of the gradients, if it was computed.
    fn finish_round<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
        ranks: &Ranks,
        loss: Option<&Tensor>,
        round: &Round,
        result: BatchResult,
    ) -> Result<(Vec<Vec<f64>>, Option<f64>)> {
        let scaled = match (&self.scaler, loss) {
            (Some(scaler), Some(loss)) => Some(scaler.scale(loss)?),
            _ => loss.cloned(),
        };
        let numbers = &result.numbers();
        let examples = round.examples[ranks.rank()];
        if self.gradients.batches + 1 < settings.accumulate {
            if let Some(loss) = &scaled {
                let gradients = backward(loss)?;
                if examples > 0 {
                    self.gradients.add_gradients(&self.parameters, gradients, examples)?;
                }
            }
            self.gradients.add_batch(round.total());
            return Ok((ranks.gather(numbers)?, None));
        }
        let total = self.gradients.examples + round.total();
        let reduced = self.reduce(scaled.as_ref(), examples, total, numbers)?;
        let norm = self.apply_reduced(model, settings, reduced.gradients)?;
        Ok((reduced.numbers, norm))
    }

    /// Averages the gradients over all ranks: those of `loss`, and the accumulated ones.
    fn reduce(
        &mut self,
        loss: Option<&Tensor>,
        examples: usize,
        total: usize,
        numbers: &[f64],
    ) -> Result<Reduced> {
        let earlier = std::mem::take(&mut self.gradients);
        let Some(reducer) = &mut self.reducer else {
            return Err(Error::msg("the trainer was created without ranks"));
        };
        reducer.reduce(&Gradients { loss, examples, earlier: earlier.sum.as_ref(), total, numbers })
    }

    fn apply_reduced<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
        gradients: GradStore,
    ) -> Result<Option<f64>> {
        self.audit(model, &gradients)?;
        self.apply(model, settings, gradients)
    }

    /// Takes a step with the gradients that all ranks have accumulated.
    pub fn flush_on_ranks<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
    ) -> Result<Option<f64>> {
        let total = self.gradients.examples;
        let reduced = self.reduce(None, 0, total, &[])?;
        self.apply_reduced(model, settings, reduced.gradients)
    }
}
