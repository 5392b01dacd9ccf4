//! The errors for losses and parameters that are not finite.

use candle_core::Device;

use crate::kernels::internal::is_finite;
use crate::module::Forward;
use crate::signal::{Forbidden, INPUT, IntoTensors, forbid};
use crate::train::batch::Batch;
use crate::train::precision::Precision;
use crate::{Error, Result, random};

use super::step::Stepper;

/// Runs the network again in `precision`, from the state `random_state` of the random number generator, and describes
/// what first became NaN or infinite. The description continues an error message.
pub(super) fn origin<M, B>(precision: Precision, model: &M, batch: &B, random_state: &random::State) -> String
where
    B: Batch,
    M: Forward<B::Input, Output: IntoTensors>,
{
    // First look for NaN and +∞ only, because a mask contains −∞ on purpose.
    let attempts = [Forbidden::NanAndInfinity, Forbidden::NonFinite];
    let found = attempts.into_iter().find_map(|forbidden| {
        random::set_state(random_state);
        forbid(forbidden, || precision.run(model, batch)).map(|_| ()).err()
    });
    match found {
        Some(error) if error.path() == INPUT => "; the input of the network is not finite".into(),
        Some(error) => {
            format!("; the first layer with a non-finite output is `{}` ({})", error.path(), error.message())
        }
        None => "; the output of the network is finite, but the result of the loss function is not".into(),
    }
}

impl<M> Stepper<M> {
    /// Returns the error for a `loss` that is not finite, in the batch number `batch` of this epoch. `origin` is the
    /// result of [`origin`], or empty if the cause is unknown.
    pub(super) fn non_finite(&self, batch: usize, loss: f64, origin: &str) -> Error {
        let step = self.steps + 1;
        let epoch = self.epochs + 1;
        let advice = self.advice();
        Error::msg(format!("step {step} (epoch {epoch}, batch {batch}): the loss is {loss}{origin}{advice}"))
    }

    /// Returns an error if a step has made a parameter NaN or infinite.
    pub(super) fn check_parameters(&self) -> Result<()> {
        for (name, parameter) in &self.parameters {
            if !is_finite(&parameter.as_tensor().to_device(&Device::Cpu)?)? {
                return Err(Error::msg(format!(
                    "step {}: the parameter `{name}` is NaN or infinite after the step, so no checkpoint was saved{}",
                    self.steps,
                    self.advice()
                )));
            }
        }
        Ok(())
    }

    /// Returns the end of an error message: the checkpoint to continue from, and what may help.
    fn advice(&self) -> String {
        let checkpoint = match &self.last_checkpoint {
            Some(path) => format!("; the last checkpoint is {}", path.display()),
            None => String::new(),
        };
        format!("{checkpoint}; a lower learning rate or gradient clipping may help")
    }
}
