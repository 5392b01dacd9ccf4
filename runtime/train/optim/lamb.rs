//! LAMB: Adam with a step size in proportion to the norm of each parameter.

use candle_core::{DType, Tensor};

use crate::Result;

use super::rule::{
    ParameterUpdate, Rule, bias_correction, check_fraction, check_not_negative, learning_rate_setter,
    moving_average, setters,
};

/// LAMB, for training with large batches (You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76
/// minutes", 2020). PyTorch does not have it; the defaults are those of timm and apex.
///
/// With the parameter x and the bias-corrected moments m and v of Adam, the direction of a step is
/// `u = m / (√v + eps) + weight_decay · x`, and the step is `x ← x − rate · (‖x‖ / ‖u‖) · u`. The norms are taken over
/// all elements of the parameter. The ratio of the norms is 1 if one of them is 0. It is also 1 for a parameter without
/// weight decay, as in timm and apex, unless [`always_adapt`](Self::always_adapt) is set. timm and apex also clip the
/// gradients; here, call [`clip_grad_norm`](crate::train::clip_grad_norm) before the step.
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::Lamb;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[3f32, -4.], &Device::Cpu)?;
/// let mut optimizer = Lamb::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The norm of the step is 0.1 times the norm of the parameter, which is 5.
/// let step = (x.as_tensor() - Tensor::new(&[3f32, -4.], &Device::Cpu)?)?;
/// assert!((step.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()? - 0.5).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lamb {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    always_adapt: bool,
}

impl Lamb {
    /// Creates LAMB with the learning rate `rate`; the default of timm and apex is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-6, weight_decay: 0.01, always_adapt: false }
    }
}

learning_rate_setter!(Lamb);
setters!(Lamb {
    /// Sets the decay rates of the first and the second moment, by default (0.9, 0.999).
    betas: (f64, f64),
    /// Sets the term added to the denominator for numerical stability, by default 1e-6.
    eps: f64,
    /// Sets the weight decay, by default 0.01.
    weight_decay: f64,
    /// Sets whether to scale the steps of parameters without weight decay by the ratio of the norms as well. Default:
    /// `false`.
    always_adapt: bool,
});

impl Rule for Lamb {
    const NAME: &'static str = "Lamb";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq"]
    }

    fn validate(&self) -> Result<()> {
        check_fraction("betas.0", self.betas.0)?;
        check_fraction("betas.1", self.betas.1)?;
        check_not_negative("eps", self.eps)?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let ParameterUpdate { parameter, gradient, moments, step, rate } = update;
        let [mean, square] = moments else { return Ok(parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, gradient)?;
        *square = moving_average(square, self.betas.1, &gradient.sqr()?)?;
        let root = (square.sqrt()? / bias_correction(self.betas.1, step).sqrt())?;
        let adam_direction = ((&*mean / bias_correction(self.betas.0, step))? / (root + self.eps)?)?;
        let mut direction = (adam_direction + (parameter * self.weight_decay)?)?;
        if self.weight_decay != 0. || self.always_adapt {
            let trust = trust_ratio(parameter, &direction)?;
            direction = direction.broadcast_mul(&trust.to_dtype(direction.dtype())?)?;
        }
        Ok((parameter - (direction * rate)?)?)
    }
}

/// Returns the ratio of the norms of `parameter` and `direction`, a scalar of dtype f32 or f64. The ratio is 1 if a
/// norm is 0. Does not synchronize with the device.
fn trust_ratio(parameter: &Tensor, direction: &Tensor) -> Result<Tensor> {
    // The square of an f16 norm may overflow.
    let dtype = if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let norm = |x: &Tensor| x.to_dtype(dtype)?.sqr()?.sum_all()?.sqrt();
    let numerator = norm(parameter)?;
    let denominator = norm(direction)?;
    let one = numerator.ones_like()?;
    let is_zero = numerator.minimum(&denominator)?.eq(&numerator.zeros_like()?)?;
    Ok(is_zero.where_cond(&one, &(numerator / denominator)?)?)
}
