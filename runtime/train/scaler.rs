//! Loss scaling for training in f16.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::kernels::internal::on_cpu_in_f64;
use crate::module::Module;
use crate::registry::Network;
use crate::{Error, Result};

use super::optim::read_scalar;

// The keys of the state.
const SCALE: &str = "scale";
const GOOD_STEPS: &str = "good_steps";

/// Scales losses so that small gradients do not become 0 in f16, like `torch.amp.GradScaler` (Micikevicius et al.,
/// "Mixed Precision Training", 2018).
///
/// The caller must skip a step with a gradient that is not finite. [`update`](Self::update) then halves the factor by
/// which the losses are multiplied. It doubles the factor after 2,000 steps in succession with finite gradients.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::GradScaler;
/// # fn main() -> Result<()> {
/// # manual_seed(0);
/// let net = Linear::config(2, 1).init(&Device::Cpu)?;
/// let (x, y) = (Tensor::ones((4, 2), DType::F32, &Device::Cpu)?, Tensor::zeros((4, 1), DType::F32, &Device::Cpu)?);
/// let mut optimizer = Sgd::new(0.1).build(net.trainable_parameters())?;
/// let mut scaler = GradScaler::new();
/// for _ in 0..3 {
///     let loss = mse_loss(&net.forward(&x)?, &y)?;
///     let mut grads = sconce::backward(&scaler.scale(&loss)?)?;
///     let finite = scaler.unscale(&net, &mut grads)?;
///     if finite {
///         optimizer.step(&grads)?;
///     }
///     scaler.update(finite);
/// }
/// assert_eq!(scaler.factor(), 65536.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GradScaler {
    factor: f64,
    growth: f64,
    backoff: f64,
    growth_interval: u64,
    /// The number of steps with finite gradients since the factor changed.
    good_steps: u64,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self::new()
    }
}

impl GradScaler {
    /// Creates a scaler with PyTorch's defaults: the initial factor 65,536, growth 2, backoff 0.5 and growth interval
    /// 2,000.
    pub fn new() -> Self {
        Self { factor: 65_536., growth: 2., backoff: 0.5, growth_interval: 2_000, good_steps: 0 }
    }

    /// Sets the initial factor.
    pub fn initial_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets the number by which the factor is multiplied after [`growth_interval`](Self::growth_interval) steps with
    /// finite gradients.
    pub fn growth(mut self, growth: f64) -> Self {
        self.growth = growth;
        self
    }

    /// Sets the number by which the factor is multiplied after a step with gradients that are not finite.
    pub fn backoff(mut self, backoff: f64) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the number of consecutive steps with finite gradients after which the factor grows.
    pub fn growth_interval(mut self, steps: u64) -> Self {
        self.growth_interval = steps;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Fails unless the factor is positive, the growth is greater than 1, the backoff is between 0 and 1, and the
    /// growth interval is positive.
    pub fn validate(&self) -> Result<()> {
        let factor = ("an initial factor above 0", self.factor > 0. && self.factor.is_finite(), self.factor);
        let growth = ("a growth above 1", self.growth > 1. && self.growth.is_finite(), self.growth);
        let backoff = ("a backoff between 0 and 1", self.backoff > 0. && self.backoff < 1., self.backoff);
        let interval = ("a growth interval above 0", self.growth_interval > 0, self.growth_interval as f64);
        for (expected, is_valid, found) in [factor, growth, backoff, interval] {
            if !is_valid {
                return Err(Error::msg(format!("expected {expected}, found {found}")).in_layer("GradScaler"));
            }
        }
        Ok(())
    }

    /// Returns the factor by which losses are multiplied.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Returns the loss multiplied by the factor.
    ///
    /// # Errors
    /// Fails if a setting is [invalid](Self::validate), or if the multiplication fails.
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        self.validate()?;
        Ok((loss * self.factor)?)
    }

    /// Divides the gradients of the trainable parameters of `network` by the factor. Returns `false` if one of them is
    /// not finite. Reading the gradients synchronizes with the device.
    ///
    /// # Errors
    /// Fails if a tensor operation fails.
    pub fn unscale(&self, network: &impl Module, grads: &mut GradStore) -> Result<bool> {
        self.unscale_parameters(&network.trainable_parameters(), grads)
    }

    /// Divides the gradients of `parameters` by the factor. Returns `false` if one of them is not finite.
    pub(super) fn unscale_parameters(
        &self,
        parameters: &[(String, Var)],
        grads: &mut GradStore,
    ) -> Result<bool> {
        let mut is_finite = true;
        for (_, var) in parameters {
            let Some(gradient) = grads.get(var) else { continue };
            let gradient = (gradient.detach() / self.factor)?;
            // The product of 0 and an element that is not finite is NaN.
            let zero = (&gradient * 0.)?.sum_all()?;
            is_finite &= on_cpu_in_f64(&zero)?.to_scalar::<f64>()? == 0.;
            grads.insert(var, gradient);
        }
        Ok(is_finite)
    }

    /// Adapts the factor after a step. `finite` is the result of [`unscale`](Self::unscale).
    pub fn update(&mut self, finite: bool) {
        if !finite {
            self.factor *= self.backoff;
            self.good_steps = 0;
            return;
        }
        self.good_steps += 1;
        if self.good_steps >= self.growth_interval {
            self.good_steps = 0;
            // As in PyTorch, where the factor is an f32, it does not exceed the range of f32.
            let grown = self.factor * self.growth;
            self.factor = if grown <= f64::from(f32::MAX) { grown } else { self.factor };
        }
    }

    /// Returns the state needed to resume training: the factor, and the number of steps with finite gradients since it
    /// changed.
    ///
    /// # Errors
    /// Fails if a tensor cannot be created.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let factor = Tensor::new(self.factor, &Device::Cpu)?;
        let steps = Tensor::new(self.good_steps as i64, &Device::Cpu)?;
        Ok(vec![(SCALE.to_owned(), factor), (GOOD_STEPS.to_owned(), steps)])
    }

    /// Restores a state returned by [`state`](Self::state).
    ///
    /// # Errors
    /// Fails, and changes nothing, if a key is missing, or if a value is not a scalar or out of range.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let read = |key: &str| match state.get(key) {
            Some(tensor) => read_scalar(&format!("`{key}`"), tensor),
            None => Err(Error::msg(format!("`{key}` is missing from the state of the scaler"))),
        };
        let (factor, good_steps) = (read(SCALE)?, read(GOOD_STEPS)?);
        if good_steps < 0. || good_steps.fract() != 0. {
            return Err(Error::msg(format!(
                "expected a number of steps as `{GOOD_STEPS}`, found {good_steps}"
            )));
        }
        let restored = Self { factor, good_steps: good_steps as u64, ..self.clone() };
        restored.validate()?;
        *self = restored;
        Ok(())
    }
}
