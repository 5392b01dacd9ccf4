//! Adagrad and Adadelta: a rate for each element from all its gradients so far.

use candle_core::Tensor;

use super::rule::{Moment, Rule, moving_average, not_negative, setters};
use crate::{Error, Result};

/// Adagrad, as `torch.optim.Adagrad` (Duchi et al., "Adaptive Subgradient Methods for Online Learning and
/// Stochastic Optimization", 2011).
#[derive(Clone, Debug)]
pub struct Adagrad {
    rate: f64,
    lr_decay: f64,
    weight_decay: f64,
    initial_accumulator_value: f64,
    eps: f64,
}

impl Adagrad {
    /// Adagrad with the learning rate `rate`; PyTorch's default is 0.01.
    pub fn new(rate: f64) -> Self {
        Self { rate, lr_decay: 0., weight_decay: 0., initial_accumulator_value: 0., eps: 1e-10 }
    }
}

setters!(Adagrad {
    /// How fast the rate falls with the number of steps, by default 0.
    lr_decay: f64,
    /// The factor of the L2 penalty, by default 0.
    weight_decay: f64,
    /// What the sum of squares begins with, by default 0.
    initial_accumulator_value: f64,
    /// What is added to the denominator, by default 1e-10.
    eps: f64,
});

impl Rule for Adagrad {
    const NAME: &'static str = "Adagrad";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["sum"]
    }

    fn first_moment(&self, _name: &str, parameter: &Tensor) -> Result<Tensor> {
        let zeros = parameter.zeros_like()?;
        Ok((zeros + self.initial_accumulator_value)?)
    }

    fn validate(&self) -> Result<()> {
        not_negative("lr_decay", self.lr_decay)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("initial_accumulator_value", self.initial_accumulator_value)?;
        not_negative("eps", self.eps)
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let [sum] = at.state else { return Ok(at.parameter.clone()) };
        *sum = (&*sum + gradient.sqr()?)?;
        let rate = at.rate / (1. + (at.step - 1) as f64 * self.lr_decay);
        let scaled = (gradient / (sum.sqrt()? + self.eps)?)?;
        Ok((at.parameter - (scaled * rate)?)?)
    }
}

/// Adadelta, as `torch.optim.Adadelta` (Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012).
#[derive(Clone, Debug)]
pub struct Adadelta {
    rate: f64,
    rho: f64,
    eps: f64,
    weight_decay: f64,
}

impl Adadelta {
    /// Adadelta with the learning rate `rate`; PyTorch's default is 1.
    pub fn new(rate: f64) -> Self {
        Self { rate, rho: 0.9, eps: 1e-6, weight_decay: 0. }
    }
}

setters!(Adadelta {
    /// How much of the moving averages each step keeps, by default 0.9.
    rho: f64,
    /// What is added under both roots, by default 1e-6.
    eps: f64,
    /// The factor of the L2 penalty, by default 0.
    weight_decay: f64,
});

impl Rule for Adadelta {
    const NAME: &'static str = "Adadelta";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["square_avg", "acc_delta"]
    }

    fn validate(&self) -> Result<()> {
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)?;
        if (0. ..=1.).contains(&self.rho) {
            return Ok(());
        }
        Err(Error::msg(format!("rho cannot be {}: it is from 0 to 1", self.rho)))
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let [square, moved] = at.state else { return Ok(at.parameter.clone()) };
        *square = moving_average(square, self.rho, &gradient.sqr()?)?;
        let root = |x: &Tensor| Ok::<_, Error>((x + self.eps)?.sqrt()?);
        let delta = ((root(moved)? / root(square)?)? * gradient)?;
        *moved = moving_average(moved, self.rho, &delta.sqr()?)?;
        Ok((at.parameter - (delta * at.rate)?)?)
    }
}
