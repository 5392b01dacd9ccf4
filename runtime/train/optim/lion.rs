//! Lion: the sign of an interpolated momentum.

use candle_core::Tensor;

use crate::Result;

use super::rule::{
    ParameterUpdate, Rule, check_fraction, check_not_negative, learning_rate_setter, moving_average, setters,
};

/// Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023), which PyTorch does not have. Weight decay
/// is decoupled.
///
/// With the parameter x, the gradient g, the momentum m and the learning rate η, a step computes
/// `x ← x − η · (sign(β₁ · m + (1 − β₁) · g) + weight_decay · x)` and then `m ← β₂ · m + (1 − β₂) · g`. Apart from
/// weight decay, an element moves by η, or not at all if the sign is 0. Learning rates should therefore be 3 to 10
/// times smaller than those of AdamW, and weight decays larger by the same factor.
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::Lion;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2., 0.], &Device::Cpu)?;
/// let mut optimizer = Lion::new(0.25).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// assert_eq!(x.to_vec1::<f32>()?, [0.75, -1.75, 0.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lion {
    rate: f64,
    betas: (f64, f64),
    weight_decay: f64,
}

impl Lion {
    /// Creates Lion with the learning rate `rate`; the default of the authors is 0.0001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.99), weight_decay: 0. }
    }
}

learning_rate_setter!(Lion);
setters!(Lion {
    /// Sets (β₁, β₂): the factor of the momentum in the direction, and the decay rate of the momentum. The default is
    /// `(0.9, 0.99)`.
    betas: (f64, f64),
    /// Sets the weight decay, by default 0.
    weight_decay: f64,
});

impl Rule for Lion {
    const NAME: &'static str = "Lion";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["exp_avg"]
    }

    fn validate(&self) -> Result<()> {
        check_fraction("betas.0", self.betas.0)?;
        check_fraction("betas.1", self.betas.1)?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let ParameterUpdate { parameter, gradient, moments, rate, .. } = update;
        let [momentum] = moments else { return Ok(parameter.clone()) };
        let direction = moving_average(momentum, self.betas.0, gradient)?.sign()?;
        *momentum = moving_average(momentum, self.betas.1, gradient)?;
        Ok(((parameter * (1. - rate * self.weight_decay))? - (direction * rate)?)?)
    }
}
