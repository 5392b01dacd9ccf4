//! Stochastic gradient descent with optional momentum.

use candle_core::Tensor;

use crate::kernels::internal::descent::Blend;
use crate::kernels::internal::descent::cuda::SgdStep;
use crate::{Error, Result};

use super::rule::{ParameterUpdate, Rule, check_not_negative, learning_rate_setter, setters};

/// Stochastic gradient descent, like `torch.optim.SGD`.
///
/// Momentum follows Polyak ("Some methods of speeding up the convergence of iteration methods", 1964). Nesterov
/// momentum follows Sutskever et al. ("On the importance of initialization and momentum in deep learning", 2013).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.25).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// assert_eq!(x.to_vec1::<f32>()?, [0.5, -1.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sgd {
    rate: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
}

impl Sgd {
    /// Creates gradient descent without momentum, with the learning rate `rate`.
    pub fn new(rate: f64) -> Self {
        Self { rate, momentum: 0., dampening: 0., weight_decay: 0., nesterov: false }
    }
}

learning_rate_setter!(Sgd);
setters!(Sgd {
    /// Sets the momentum factor, by default 0.
    momentum: f64,
    /// Sets the dampening, by default 0. Each step except for the first adds `(1 − dampening) · gradient` to the
    /// decayed momentum buffer.
    dampening: f64,
    /// Sets the factor of the L2 penalty, by default 0.
    weight_decay: f64,
    /// Sets whether to use Nesterov momentum. Default: `false`.
    nesterov: bool,
});

impl Rule for Sgd {
    const NAME: &'static str = "Sgd";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        if self.momentum == 0. { vec![] } else { vec!["momentum_buffer"] }
    }

    fn validate(&self) -> Result<()> {
        check_not_negative("momentum", self.momentum)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        if self.nesterov && (self.momentum <= 0. || self.dampening != 0.) {
            return Err(Error::msg("nesterov needs a momentum above 0 and a dampening of 0"));
        }
        Ok(())
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let direction = match update.moments {
            [] => gradient,
            [buffer, ..] => {
                // As in PyTorch, the first gradient is not dampened.
                let dampened =
                    if update.step == 1 { gradient.clone() } else { (&gradient * (1. - self.dampening))? };
                *buffer = ((&*buffer * self.momentum)? + dampened)?;
                if self.nesterov { (gradient + (&*buffer * self.momentum)?)? } else { buffer.clone() }
            }
        };
        Ok((update.parameter - (direction * update.rate)?)?)
    }

    fn update_in_place(&self, update: &ParameterUpdate) -> Result<bool> {
        // As in PyTorch, the first gradient is not dampened.
        let share = if update.step == 1 { 1. } else { 1. - self.dampening };
        if update.supported_by_cuda_kernels() {
            let step = SgdStep {
                rate: update.rate,
                momentum: self.momentum,
                share,
                decay: self.weight_decay,
                nesterov: self.nesterov,
            };
            step.apply(update.parameter, update.gradient, update.moments.first())?;
            return Ok(true);
        }
        if self.weight_decay != 0. || self.nesterov || !update.supported_by_kernels() {
            return Ok(false);
        }
        // `Blend` computes `target = keep · target + share · x` in place.
        let direction = match &*update.moments {
            [] => update.gradient,
            [buffer, ..] => {
                Blend { keep: self.momentum, share, squared: false }.apply(buffer, update.gradient)?;
                buffer
            }
        };
        Blend { keep: 1., share: -update.rate, squared: false }.apply(update.parameter, direction)?;
        Ok(true)
    }
}
