//! NAdam: Adam that looks ahead along its momentum.

use candle_core::{DType, Tensor};

use super::rule::{Moment, Rule, bias_correction, fraction, moving_average, not_negative, setters};
use crate::Result;

/// Adam with Nesterov's momentum, as `torch.optim.NAdam` (Dozat, "Incorporating Nesterov Momentum into
/// Adam", 2016).
#[derive(Clone, Debug)]
pub struct NAdam {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    momentum_decay: f64,
    decoupled_weight_decay: bool,
}

impl NAdam {
    /// NAdam with the learning rate `rate`; PyTorch's default is 0.002.
    pub fn new(rate: f64) -> Self {
        let (betas, eps, weight_decay) = ((0.9, 0.999), 1e-8, 0.);
        Self { rate, betas, eps, weight_decay, momentum_decay: 4e-3, decoupled_weight_decay: false }
    }

    /// The paper's μ_t: the momentum, which grows from half of beta to the whole.
    fn momentum(&self, step: u64) -> f64 {
        self.betas.0 * (1. - 0.5 * 0.96f64.powf(step as f64 * self.momentum_decay))
    }
}

setters!(NAdam {
    /// How much of the two moving averages each step keeps, by default (0.9, 0.999).
    betas: (f64, f64),
    /// What is added to the denominator, by default 1e-8.
    eps: f64,
    /// The factor of the weight decay, by default 0.
    weight_decay: f64,
    /// How fast the momentum grows, by default 0.004.
    momentum_decay: f64,
    /// Whether weight decay acts on the parameters themselves, as in AdamW; by default it is an L2 penalty.
    decoupled_weight_decay: bool,
});

/// The product of all momenta so far, a scalar in f64.
const PRODUCT: &str = "mu_product";

impl Rule for NAdam {
    const NAME: &'static str = "NAdam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq", PRODUCT]
    }

    fn first_moment(&self, name: &str, parameter: &Tensor) -> Result<Tensor> {
        match name {
            PRODUCT => Ok(Tensor::new(1f64, &candle_core::Device::Cpu)?),
            _ => Ok(parameter.zeros_like()?),
        }
    }

    fn validate(&self) -> Result<()> {
        fraction("the first of betas", self.betas.0)?;
        fraction("the second of betas", self.betas.1)?;
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("momentum_decay", self.momentum_decay)
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let decoupled = self.decoupled_weight_decay;
        let gradient = at.decayed_gradient(if decoupled { 0. } else { self.weight_decay })?;
        let [mean, square, product] = at.state else { return Ok(at.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *square = moving_average(square, self.betas.1, &gradient.sqr()?)?;
        let (now, next) = (self.momentum(at.step), self.momentum(at.step + 1));
        let so_far = product.to_dtype(DType::F64)?.to_scalar::<f64>()? * now;
        *product = Tensor::new(so_far, product.device())?;

        let of_gradient = at.rate * (1. - now) / (1. - so_far);
        let of_mean = at.rate * next / (1. - so_far * next);
        let direction = ((gradient * of_gradient)? + (&*mean * of_mean)?)?;
        let root = ((&*square / bias_correction(self.betas.1, at.step))?.sqrt()? + self.eps)?;
        let kept = if decoupled { 1. - at.rate * self.weight_decay } else { 1. };
        Ok(((at.parameter * kept)? - (direction / root)?)?)
    }
}
