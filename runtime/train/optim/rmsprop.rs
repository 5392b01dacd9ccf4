//! RMSprop.

use candle_core::Tensor;

use crate::Result;

use super::rule::{ParameterUpdate, Rule, check_not_negative, learning_rate_setter, moving_average, setters};

/// RMSprop, like `torch.optim.RMSprop` (Hinton, lecture 6 of "Neural Networks for Machine Learning", 2012). The
/// centered version follows Graves ("Generating Sequences With Recurrent Neural Networks", 2013).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = RmsProp::new(0.1).alpha(0.75).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The moving average is a quarter of the squared gradient, so the step is 0.1 / √0.25.
/// let expected = Tensor::new(&[0.8f32, -1.8], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RmsProp {
    rate: f64,
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
}

impl RmsProp {
    /// Creates RMSprop with the learning rate `rate`; PyTorch's default is 0.01.
    pub fn new(rate: f64) -> Self {
        Self { rate, alpha: 0.99, eps: 1e-8, weight_decay: 0., momentum: 0., centered: false }
    }
}

learning_rate_setter!(RmsProp);
setters!(RmsProp {
    /// Sets the decay rate of the moving averages, by default 0.99.
    alpha: f64,
    /// Sets the term added to the denominator for numerical stability, by default 1e-8.
    eps: f64,
    /// Sets the factor of the L2 penalty, by default 0.
    weight_decay: f64,
    /// Sets the momentum factor, by default 0.
    momentum: f64,
    /// Sets whether to normalize the gradient by an estimate of its variance instead of its mean square. Default:
    /// `false`.
    centered: bool,
});

impl Rule for RmsProp {
    const NAME: &'static str = "RmsProp";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        let optional = [("momentum_buffer", self.momentum > 0.), ("grad_avg", self.centered)];
        let optional = optional.into_iter().filter_map(|(name, used)| used.then_some(name));
        std::iter::once("square_avg").chain(optional).collect()
    }

    fn validate(&self) -> Result<()> {
        check_not_negative("alpha", self.alpha)?;
        check_not_negative("eps", self.eps)?;
        check_not_negative("weight_decay", self.weight_decay)?;
        check_not_negative("momentum", self.momentum)
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let Some((square, rest)) = update.moments.split_first_mut() else {
            return Ok(update.parameter.clone());
        };
        *square = moving_average(square, self.alpha, &gradient.sqr()?)?;
        let variance = match rest.last_mut().filter(|_| self.centered) {
            Some(average) => {
                *average = moving_average(average, self.alpha, &gradient)?;
                (&*square - average.sqr()?)?
            }
            None => square.clone(),
        };
        let scaled = (gradient / (variance.sqrt()? + self.eps)?)?;
        let direction = match rest.first_mut().filter(|_| self.momentum > 0.) {
            Some(buffer) => {
                *buffer = ((&*buffer * self.momentum)? + scaled)?;
                buffer.clone()
            }
            None => scaled,
        };
        Ok((update.parameter - (direction * update.rate)?)?)
    }
}
