//! NAdam: Adam with Nesterov momentum.

use candle_core::Tensor;

use crate::Result;
use crate::kernels::internal::on_cpu_in_f64;

use super::rule::{
    ParameterUpdate, Rule, bias_correction, check_fraction, check_not_negative, learning_rate_setter,
    moving_average, setters,
};

/// Adam with Nesterov momentum, like `torch.optim.NAdam` (Dozat, "Incorporating Nesterov Momentum into Adam", 2016).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::NAdam;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = NAdam::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// assert!(x.sqr()?.sum_all()?.to_scalar::<f32>()? < 5.);
/// # Ok(())
/// # }
/// ```
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
    /// Creates NAdam with the learning rate `rate`; PyTorch's default is 0.002.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.,
            momentum_decay: 4e-3,
            decoupled_weight_decay: false,
        }
    }

    /// Returns the momentum of a step, μ_t in the paper. It grows from `betas.0 / 2` to `betas.0`.
    fn momentum(&self, step: u64) -> f64 {
        self.betas.0 * (1. - 0.5 * 0.96f64.powf(step as f64 * self.momentum_decay))
    }
}

learning_rate_setter!(NAdam);
setters!(NAdam {
    /// Sets the decay rates of the first and the second moment, by default (0.9, 0.999).
    betas: (f64, f64),
    /// Sets the term added to the denominator for numerical stability, by default 1e-8.
    eps: f64,
    /// Sets the weight decay, by default 0.
    weight_decay: f64,
    /// Sets how fast the momentum grows, by default 0.004.
    momentum_decay: f64,
    /// Sets whether to decouple weight decay from the gradient, as in AdamW, instead of adding an L2 penalty.
    /// Default: `false`.
    decoupled_weight_decay: bool,
});

/// The name of an f64 scalar in the state: the product of the momenta μ₁ to μ_t of all steps so far.
const PRODUCT: &str = "mu_product";

impl Rule for NAdam {
    const NAME: &'static str = "NAdam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq", PRODUCT]
    }

    fn initial_moment(&self, name: &str, parameter: &Tensor) -> Result<Tensor> {
        match name {
            PRODUCT => Ok(Tensor::new(1f64, &candle_core::Device::Cpu)?),
            _ => Ok(parameter.zeros_like()?),
        }
    }

    fn validate(&self) -> Result<()> {
        check_fraction("betas.0", self.betas.0)?;
        check_fraction("betas.1", self.betas.1)?;
        check_not_negative("eps", self.eps)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        check_not_negative("momentum_decay", self.momentum_decay)
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let decoupled = self.decoupled_weight_decay;
        let gradient = update.decayed_gradient(if decoupled { 0. } else { self.weight_decay })?;
        let [mean, square, product] = update.moments else { return Ok(update.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *square = moving_average(square, self.betas.1, &gradient.sqr()?)?;
        let mu = self.momentum(update.step);
        let mu_next = self.momentum(update.step + 1);
        let mu_product = on_cpu_in_f64(product)?.to_scalar::<f64>()? * mu;
        *product = Tensor::new(mu_product, product.device())?;

        let gradient_factor = update.rate * (1. - mu) / (1. - mu_product);
        let mean_factor = update.rate * mu_next / (1. - mu_product * mu_next);
        let direction = ((gradient * gradient_factor)? + (&*mean * mean_factor)?)?;
        let root = ((&*square / bias_correction(self.betas.1, update.step))?.sqrt()? + self.eps)?;
        let keep = if decoupled { 1. - update.rate * self.weight_decay } else { 1. };
        Ok(((update.parameter * keep)? - (direction / root)?)?)
    }
}
