//! Adagrad and Adadelta.

use candle_core::Tensor;

use crate::{Error, Result};

use super::rule::{ParameterUpdate, Rule, check_not_negative, learning_rate_setter, moving_average, setters};

/// Adagrad, like `torch.optim.Adagrad` (Duchi et al., "Adaptive Subgradient Methods for Online Learning and
/// Stochastic Optimization", 2011).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::Adagrad;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Adagrad::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The first step moves each element by the learning rate.
/// let expected = Tensor::new(&[0.9f32, -1.9], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Adagrad {
    rate: f64,
    lr_decay: f64,
    weight_decay: f64,
    initial_accumulator_value: f64,
    eps: f64,
}

impl Adagrad {
    /// Creates Adagrad with the learning rate `rate`; PyTorch's default is 0.01.
    pub fn new(rate: f64) -> Self {
        Self { rate, lr_decay: 0., weight_decay: 0., initial_accumulator_value: 0., eps: 1e-10 }
    }
}

learning_rate_setter!(Adagrad Adadelta);
setters!(Adagrad {
    /// Sets the decay of the learning rate, by default 0: step `t` uses `rate / (1 + (t − 1) · lr_decay)`.
    lr_decay: f64,
    /// Sets the factor of the L2 penalty, by default 0.
    weight_decay: f64,
    /// Sets the initial value of the sum of squared gradients, by default 0.
    initial_accumulator_value: f64,
    /// Sets the term added to the denominator for numerical stability, by default 1e-10.
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

    fn initial_moment(&self, _name: &str, parameter: &Tensor) -> Result<Tensor> {
        let zeros = parameter.zeros_like()?;
        Ok((zeros + self.initial_accumulator_value)?)
    }

    fn validate(&self) -> Result<()> {
        check_not_negative("lr_decay", self.lr_decay)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        check_not_negative("initial_accumulator_value", self.initial_accumulator_value)?;
        check_not_negative("eps", self.eps)
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let [sum] = update.moments else { return Ok(update.parameter.clone()) };
        *sum = (&*sum + gradient.sqr()?)?;
        let rate = update.rate / (1. + (update.step - 1) as f64 * self.lr_decay);
        let scaled = (gradient / (sum.sqrt()? + self.eps)?)?;
        Ok((update.parameter - (scaled * rate)?)?)
    }
}

/// Adadelta, like `torch.optim.Adadelta` (Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::Adadelta;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Adadelta::new(1.).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// assert!(x.sqr()?.sum_all()?.to_scalar::<f32>()? < 5.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Adadelta {
    rate: f64,
    rho: f64,
    eps: f64,
    weight_decay: f64,
}

impl Adadelta {
    /// Creates Adadelta with the learning rate `rate`; PyTorch's default is 1.
    pub fn new(rate: f64) -> Self {
        Self { rate, rho: 0.9, eps: 1e-6, weight_decay: 0. }
    }
}

setters!(Adadelta {
    /// Sets the decay rate of the moving averages, by default 0.9.
    rho: f64,
    /// Sets the term added under both square roots for numerical stability, by default 1e-6.
    eps: f64,
    /// Sets the factor of the L2 penalty, by default 0.
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
        check_not_negative("eps", self.eps)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        if (0. ..=1.).contains(&self.rho) {
            return Ok(());
        }
        Err(Error::msg(format!("rho must be between 0 and 1, found {}", self.rho)))
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let [square, acc_delta] = update.moments else { return Ok(update.parameter.clone()) };
        *square = moving_average(square, self.rho, &gradient.sqr()?)?;
        let root = |x: &Tensor| Ok::<_, Error>((x + self.eps)?.sqrt()?);
        let delta = ((root(acc_delta)? / root(square)?)? * gradient)?;
        *acc_delta = moving_average(acc_delta, self.rho, &delta.sqr()?)?;
        Ok((update.parameter - (delta * update.rate)?)?)
    }
}
