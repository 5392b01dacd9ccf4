//! Stochastic gradient descent, with momentum.

use candle_core::Tensor;

use super::rule::{Moment, Rule, not_negative, setters};
use crate::kernels::internal::descent::Blend;
use crate::kernels::internal::descent::cuda::SgdStep;
use crate::{Error, Result};

/// Stochastic gradient descent, as `torch.optim.SGD`.
///
/// Momentum after Polyak ("Some methods of speeding up the convergence of iteration methods", 1964), or
/// Nesterov's in the form of Sutskever et al. ("On the importance of initialization and momentum in deep
/// learning", 2013).
#[derive(Clone, Debug)]
pub struct Sgd {
    rate: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent with the learning rate `rate`.
    pub fn new(rate: f64) -> Self {
        Self { rate, momentum: 0., dampening: 0., weight_decay: 0., nesterov: false }
    }
}

setters!(Sgd {
    /// The share of the last step that is kept, by default 0.
    momentum: f64,
    /// The share of a new gradient that is kept out of the momentum, by default 0.
    dampening: f64,
    /// The factor of the L2 penalty, by default 0.
    weight_decay: f64,
    /// Whether the gradient is taken where the momentum leads, by default not.
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
        not_negative("momentum", self.momentum)?;
        not_negative("weight_decay", self.weight_decay)?;
        if self.nesterov && (self.momentum <= 0. || self.dampening != 0.) {
            return Err(Error::msg("nesterov needs a momentum above 0 and a dampening of 0"));
        }
        Ok(())
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let direction = match at.state {
            [] => gradient,
            [buffer, ..] => {
                // The first gradient enters whole: there is no earlier one to dampen it against.
                let fresh =
                    if at.step == 1 { gradient.clone() } else { (&gradient * (1. - self.dampening))? };
                *buffer = ((&*buffer * self.momentum)? + fresh)?;
                if self.nesterov { (gradient + (&*buffer * self.momentum)?)? } else { buffer.clone() }
            }
        };
        Ok((at.parameter - (direction * at.rate)?)?)
    }

    fn update_in_place(&self, at: &Moment) -> Result<bool> {
        // The first gradient enters whole: there is no earlier one to dampen it against.
        let share = if at.step == 1 { 1. } else { 1. - self.dampening };
        if at.is_for_cuda() {
            let (rate, momentum, decay, nesterov) =
                (at.rate, self.momentum, self.weight_decay, self.nesterov);
            let step = SgdStep { rate, momentum, share, decay, nesterov };
            step.apply(at.parameter, at.gradient, at.state.first())?;
            return Ok(true);
        }
        if self.weight_decay != 0. || self.nesterov || !at.is_for_kernels() {
            return Ok(false);
        }
        let direction = match &*at.state {
            [] => at.gradient,
            [buffer, ..] => {
                Blend { keep: self.momentum, share, squared: false }.apply(buffer, at.gradient)?;
                buffer
            }
        };
        Blend { keep: 1., share: -at.rate, squared: false }.apply(at.parameter, direction)?;
        Ok(true)
    }
}
