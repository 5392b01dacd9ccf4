//! One step: forward, loss, backward, accumulation, clipping, the optimizer and the average.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::kernels::backward;
use crate::module::{Forward, Module};
use crate::registry::Network;
use crate::signal::IntoTensors;
use crate::train::audit::audit_gradients;
use crate::train::average::Ema;
use crate::train::batch::Batch;
use crate::train::clip::clamp_gradients;
use crate::train::distributed::{Ranks, Reducer};
use crate::train::optim::{Optimizer, Step};
use crate::train::precision::Precision;
use crate::train::scaler::GradScaler;
use crate::train::tally::scalar;
use crate::{Error, Result, random};

use super::callback::StepReport;
use super::gradients::GradientSum;
use super::non_finite::origin;
use super::settings::StepSettings;

/// The state that steps change, besides the network.
pub(super) struct Stepper<M> {
    pub parameters: Vec<(String, Var)>,
    pub optimizer: Box<dyn Step>,
    /// The optimizer's initial learning rates.
    base_rates: Vec<f64>,
    pub average: Option<Ema<M>>,
    /// Scales the losses in f16.
    pub scaler: Option<GradScaler>,
    pub(super) gradients: GradientSum,
    /// Averages the gradients over the ranks of a distributed training.
    pub(super) reducer: Option<Reducer>,
    /// The number of optimizer steps so far.
    pub steps: usize,
    /// The position in the learning-rate schedule, in steps. It differs from `steps` after a run was resumed with
    /// another number of batches per step.
    pub schedule_steps: usize,
    /// The number of finished epochs.
    pub epochs: usize,
    /// The number of finished batches of the current epoch.
    pub batches: usize,
    /// The parameters without a gradient in the first step, or `None` before it.
    pub unreached: Option<Vec<String>>,
    /// The path of the last checkpoint, which errors name.
    pub last_checkpoint: Option<PathBuf>,
}

/// The result of a batch, and the output of the network before the parameters are updated.
pub(super) struct Stepped<O> {
    pub report: StepReport,
    pub output: O,
}

impl<M: Module> Stepper<M> {
    /// Combines the settings with the parameters of `model`.
    pub fn new<O, T>(
        model: &M,
        optimizer: &dyn Optimizer,
        settings: &StepSettings<'_, O, T>,
        ranks: Option<&Arc<Ranks>>,
    ) -> Result<Self> {
        settings.validate()?;
        let parameters = model.trainable_parameters();
        if parameters.is_empty() {
            return Err(Error::msg(format!("this {} has no trainable parameter", model.kind())));
        }
        let optimizer = optimizer.build(parameters.clone())?;
        let scaler = (settings.precision == Precision::F16).then(GradScaler::new);
        let changes_gradients = settings.accumulate > 1
            || settings.clip_norm.is_some()
            || settings.clip_value.is_some()
            || scaler.is_some();
        if optimizer.reevaluates() && changes_gradients {
            return Err(Error::msg(
                "the optimizer evaluates the loss several times in each step: it supports neither `accumulate` nor \
                 `clip_norm` nor `clip_value` nor `Precision::F16`",
            ));
        }
        if optimizer.reevaluates() && ranks.is_some() {
            return Err(Error::msg(
                "the optimizer evaluates the loss several times in each step: it does not support distributed training",
            ));
        }
        let reducer = ranks.map(|ranks| Reducer::new(ranks.clone(), &parameters));
        let base_rates = optimizer.learning_rates();
        let average = settings.ema.map(|decay| Ema::new(model, decay)).transpose()?;
        let gradients = GradientSum::default();
        Ok(Self {
            parameters,
            optimizer,
            base_rates,
            average,
            scaler,
            gradients,
            reducer,
            steps: 0,
            schedule_steps: 0,
            epochs: 0,
            batches: 0,
            unreached: None,
            last_checkpoint: None,
        })
    }

    /// Trains on `batch`: takes a step with its gradients or, with accumulation, adds them to those of earlier batches
    /// and takes a step once there are enough.
    pub fn step<B, O>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        batch: &B,
    ) -> Result<Stepped<O>>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        self.set_learning_rate(settings)?;
        self.batches += 1;
        let examples = batch.examples();
        let earlier_steps = self.steps;
        let mut gradient_norm = None;
        let (loss, output) = if self.optimizer.reevaluates() {
            let evaluated = self.reevaluate(model, settings, batch)?;
            self.finish_step(model)?;
            evaluated
        } else {
            let random_state = random::state();
            let (loss, output) = forward(model, settings, batch)?;
            self.check_loss(model, settings, batch, &loss, &random_state)?;
            let grads = match &self.scaler {
                Some(scaler) => backward(&scaler.scale(&loss)?)?,
                None => backward(&loss)?,
            };
            self.audit(model, &grads)?;
            if settings.accumulate == 1 {
                gradient_norm = self.apply(model, settings, grads)?;
            } else {
                self.gradients.add(&self.parameters, grads, examples)?;
                if self.gradients.batches == settings.accumulate {
                    gradient_norm = self.flush(model, settings)?;
                }
            }
            (loss, output)
        };
        let report = StepReport {
            epoch: self.epochs + 1,
            batch: self.batches,
            step: self.steps,
            updated: self.steps > earlier_steps,
            examples,
            learning_rate: self.optimizer.learning_rate(),
            gradient_norm,
            epoch_loss: None,
            running: None,
            loss: loss.detach(),
        };
        Ok(Stepped { report, output })
    }

    /// Sets the learning rates at the start of a step.
    pub(super) fn set_learning_rate<O, T>(&mut self, settings: &StepSettings<'_, O, T>) -> Result<()> {
        match &settings.learning_rate {
            Some(learning_rate) if self.gradients.batches == 0 => {
                let steps = self.schedule_steps;
                learning_rate.apply(&mut *self.optimizer, &self.base_rates, steps, self.epochs)
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if there are gradients that no step has used.
    pub fn has_accumulated(&self) -> bool {
        self.gradients.batches > 0
    }

    /// Takes a step with the accumulated gradients, if there are any. Returns the norm of the gradients, if it was
    /// computed.
    pub fn flush<O, T>(&mut self, model: &M, settings: &StepSettings<'_, O, T>) -> Result<Option<f64>> {
        match self.gradients.take_mean(&self.parameters)? {
            Some(grads) => self.apply(model, settings, grads),
            None => Ok(None),
        }
    }

    /// Clips the gradients and takes a step with them. Takes no step if a scaled gradient is not finite.
    pub(super) fn apply<O, T>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, T>,
        mut grads: GradStore,
    ) -> Result<Option<f64>> {
        if let Some(scaler) = &mut self.scaler {
            let finite = scaler.unscale_parameters(&self.parameters, &mut grads)?;
            scaler.update(finite);
            if !finite && scaler.factor() < f64::from(f32::MIN_POSITIVE) {
                return Err(Error::msg(format!(
                    "step {}: the gradients are not finite even with a loss scale of {:e}; check the loss for \
                     operations without a finite gradient, or use `Precision::Bf16`",
                    self.steps + 1,
                    scaler.factor()
                )));
            }
            if !finite {
                return Ok(None);
            }
        }
        if let Some(clip_value) = settings.clip_value {
            clamp_gradients(&self.parameters, &mut grads, clip_value)?;
        }
        let clip = settings.clip_norm.map(|clip| clip.clip_parameters(&self.parameters, &mut grads));
        let norm = clip.transpose()?;
        self.optimizer.step(&grads)?;
        self.finish_step(model)?;
        Ok(norm)
    }

    /// Counts a step and updates the average.
    fn finish_step(&mut self, model: &M) -> Result<()> {
        self.steps += 1;
        self.schedule_steps += 1;
        self.average.as_mut().map_or(Ok(()), |average| average.update(model))
    }

    /// Takes a step of an optimizer that evaluates the loss several times. Returns the loss and the output of the first
    /// evaluation.
    fn reevaluate<B, O>(
        &mut self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        batch: &B,
    ) -> Result<(Tensor, O)>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        // A line search may visit points with a non-finite loss, so only the loss of the first evaluation is checked.
        let random_state = random::state();
        let (loss, output) = forward(model, settings, batch)?;
        self.check_loss(model, settings, batch, &loss, &random_state)?;
        if self.unreached.is_none() {
            self.audit(model, &backward(&loss)?)?;
        }
        let mut first = Some(loss);
        let loss = self.optimizer.step_with(&mut || match first.take() {
            Some(loss) => Ok(loss),
            None => Ok(forward(model, settings, batch)?.0),
        })?;
        Ok((loss, output))
    }

    /// Returns an error if the loss is on the CPU and not finite. `random_state` is the state of the random number
    /// generator before the forward pass. Reading a loss from a GPU would synchronize the GPU, so losses on a GPU are
    /// read later, many at a time.
    pub(super) fn check_loss<B, O>(
        &self,
        model: &M,
        settings: &StepSettings<'_, O, B::Target>,
        batch: &B,
        loss: &Tensor,
        random_state: &random::State,
    ) -> Result<()>
    where
        B: Batch,
        M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
    {
        if settings.allow_non_finite || !loss.device().is_cpu() {
            return Ok(());
        }
        match scalar(loss)? {
            loss if loss.is_finite() => Ok(()),
            loss => {
                let origin = origin(settings.precision, model, batch, random_state);
                Err(self.non_finite(self.batches, loss, &origin))
            }
        }
    }

    /// In the first step, stores the names of the parameters without a gradient.
    pub(super) fn audit(&mut self, model: &M, grads: &GradStore) -> Result<()> {
        if self.unreached.is_some() {
            return Ok(());
        }
        let names = audit_gradients(model, grads);
        if names.len() == self.parameters.len() {
            return Err(Error::msg(
                "no parameter has a gradient: the loss does not depend on the parameters",
            ));
        }
        self.unreached = Some(names);
        Ok(())
    }
}

/// Returns the loss of a batch, and the output of the network.
pub(super) fn forward<M, B, O>(
    model: &M,
    settings: &StepSettings<'_, O, B::Target>,
    batch: &B,
) -> Result<(Tensor, O)>
where
    B: Batch,
    M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
{
    let output = settings.precision.run(model, batch)?;
    let loss = settings.loss.forward(&output, batch.target())?;
    Ok((loss, output))
}
