//! Adam and its variants.

use candle_core::Tensor;

use crate::Result;
use crate::kernels::internal::descent::cuda::AdamStep;
use crate::kernels::internal::descent::{AdamUpdate, Blend};

use super::rule::{
    ParameterUpdate, Rule, bias_correction, check_fraction, check_not_negative, learning_rate_setter,
    moving_average, setters,
};

/// Adam, like `torch.optim.Adam` (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015). AMSGrad follows
/// Reddi et al. ("On the Convergence of Adam and Beyond", 2018). Weight decay is an L2 penalty.
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Adam::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The first step moves each element by the learning rate.
/// let expected = Tensor::new(&[0.9f32, -1.9], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Adam {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
}

/// Adam with decoupled weight decay, like `torch.optim.AdamW` (Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", 2019).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = AdamW::new(0.1).weight_decay(0.5).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // Weight decay multiplies the parameter by 1 − 0.1 · 0.5. The step of each element is 0.1.
/// let expected = Tensor::new(&[0.85f32, -1.8], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AdamW {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
}

/// Adam with the infinity norm instead of the second moment, like `torch.optim.Adamax` (Kingma and Ba, 2015).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::Adamax;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = Adamax::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The first step moves each element by the learning rate.
/// let expected = Tensor::new(&[0.9f32, -1.9], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Adamax {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// Adam that corrects for the high variance of the adaptive learning rate in the first steps, like `torch.optim.RAdam`
/// (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020).
///
/// ```
/// use sconce::candle::Var;
/// use sconce::prelude::*;
/// use sconce::train::optim::RAdam;
/// # fn main() -> Result<()> {
/// let x = Var::new(&[1f32, -2.], &Device::Cpu)?;
/// let mut optimizer = RAdam::new(0.1).build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?; // the gradient is 2x
/// // The first steps do not divide by the second moment.
/// let expected = Tensor::new(&[0.8f32, -1.6], &Device::Cpu)?;
/// assert!((x.as_tensor() - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RAdam {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Adam {
    /// Creates Adam with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0., amsgrad: false }
    }
}

impl AdamW {
    /// Creates AdamW with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01, amsgrad: false }
    }
}

impl Adamax {
    /// Creates Adamax with the learning rate `rate`; PyTorch's default is 0.002.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0. }
    }
}

impl RAdam {
    /// Creates RAdam with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0. }
    }
}

macro_rules! adam_setters {
    ($($optimizer:ident)*) => {$(
        setters!($optimizer {
            /// Sets the decay rates of the first and the second moment, by default (0.9, 0.999).
            betas: (f64, f64),
            /// Sets the term added to the denominator for numerical stability, by default 1e-8.
            eps: f64,
            /// Sets the weight decay, by default 0 (0.01 for [`AdamW`]).
            weight_decay: f64,
        });

        impl $optimizer {
            fn check(&self) -> Result<()> {
                check_fraction("betas.0", self.betas.0)?;
                check_fraction("betas.1", self.betas.1)?;
                check_not_negative("eps", self.eps)?;
                check_not_negative("weight_decay", self.weight_decay)
            }
        }
    )*};
}

learning_rate_setter!(Adam AdamW Adamax RAdam);
adam_setters!(Adam AdamW Adamax RAdam);
setters!(Adam {
    /// Sets whether to use AMSGrad, which keeps the running maximum of the second moment. Default: `false`.
    amsgrad: bool,
});
setters!(AdamW {
    /// Sets whether to use AMSGrad, which keeps the running maximum of the second moment. Default: `false`.
    amsgrad: bool,
});

impl Rule for Adam {
    const NAME: &'static str = "Adam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        adam_moments(self.amsgrad)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let ParameterUpdate { moments, step, rate, parameter, .. } = update;
        Ok((parameter - adam_step(self.betas, self.eps, &gradient, moments, step, rate)?)?)
    }

    fn update_in_place(&self, update: &ParameterUpdate) -> Result<bool> {
        adam_step_in_place(self.betas, self.eps, 1., self.weight_decay, update)
    }
}

impl Rule for AdamW {
    const NAME: &'static str = "AdamW";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        adam_moments(self.amsgrad)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let ParameterUpdate { moments, step, rate, parameter, gradient } = update;
        let decayed = (parameter * (1. - rate * self.weight_decay))?;
        Ok((decayed - adam_step(self.betas, self.eps, gradient, moments, step, rate)?)?)
    }

    fn update_in_place(&self, update: &ParameterUpdate) -> Result<bool> {
        adam_step_in_place(self.betas, self.eps, 1. - update.rate * self.weight_decay, 0., update)
    }
}

/// Returns the names of the moments of [`Adam`] and [`AdamW`].
fn adam_moments(amsgrad: bool) -> Vec<&'static str> {
    if amsgrad { vec!["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { vec!["exp_avg", "exp_avg_sq"] }
}

/// Updates `moments`, in the order of [`adam_moments`], and returns the step that Adam subtracts from the parameter.
fn adam_step(
    betas: (f64, f64),
    eps: f64,
    gradient: &Tensor,
    moments: &mut [Tensor],
    step: u64,
    rate: f64,
) -> Result<Tensor> {
    let [mean, square, largest @ ..] = moments else { return Ok(gradient.zeros_like()?) };
    *mean = moving_average(mean, betas.0, gradient)?;
    *square = moving_average(square, betas.1, &gradient.sqr()?)?;
    let square = match largest {
        [largest, ..] => {
            *largest = largest.broadcast_maximum(square)?;
            largest
        }
        [] => square,
    };
    let root = (square.sqrt()? / bias_correction(betas.1, step).sqrt())?;
    let rate = rate / bias_correction(betas.0, step);
    Ok(((&*mean * rate)? / (root + eps)?)?)
}

/// Updates the parameter and the moments in place, with a kernel. `keep` is the factor of the parameter: below 1 with
/// decoupled weight decay, and 1 otherwise. `decay` is the factor of the L2 penalty, `decay · parameter`, which is
/// added to the gradient.
///
/// Returns `false` if no kernel supports the update.
fn adam_step_in_place(
    betas: (f64, f64),
    eps: f64,
    keep: f64,
    decay: f64,
    update: &ParameterUpdate,
) -> Result<bool> {
    let [mean, square] = &*update.moments else { return Ok(false) };
    let rate = update.rate / bias_correction(betas.0, update.step);
    let correction = bias_correction(betas.1, update.step).sqrt();
    if update.supported_by_cuda_kernels() {
        // `AdamStep` multiplies the root by its correction, and `AdamUpdate` divides the root by its correction.
        let (keep_mean, keep_square) = betas;
        let correction = 1. / correction;
        let step = AdamStep { rate, keep_mean, keep_square, correction, eps, keep, decay };
        step.apply([update.parameter, mean, square], update.gradient)?;
        return Ok(true);
    }
    if decay != 0. || !update.supported_by_kernels() {
        return Ok(false);
    }
    // `Blend` updates a moving average in place: of the gradient, or with `squared`, of its square.
    Blend::average(betas.0).apply(mean, update.gradient)?;
    Blend { squared: true, ..Blend::average(betas.1) }.apply(square, update.gradient)?;
    AdamUpdate { keep, rate, correction, eps }.apply(update.parameter, mean, square)?;
    Ok(true)
}

impl Rule for Adamax {
    const NAME: &'static str = "Adamax";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_inf"]
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let [mean, largest] = update.moments else { return Ok(update.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *largest = (&*largest * self.betas.1)?.broadcast_maximum(&(gradient.abs()? + self.eps)?)?;
        let rate = update.rate / bias_correction(self.betas.0, update.step);
        Ok((update.parameter - ((&*mean * rate)? / &*largest)?)?)
    }
}

impl Rule for RAdam {
    const NAME: &'static str = "RAdam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        adam_moments(false)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, update: ParameterUpdate) -> Result<Tensor> {
        let gradient = update.decayed_gradient(self.weight_decay)?;
        let [mean, square] = update.moments else { return Ok(update.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *square = moving_average(square, self.betas.1, &gradient.sqr()?)?;
        let mut direction = (&*mean * (update.rate / bias_correction(self.betas.0, update.step)))?;
        if let Some(rectification) = rectification(self.betas.1, update.step) {
            let factor = rectification * bias_correction(self.betas.1, update.step).sqrt();
            direction = ((direction * factor)? / (square.sqrt()? + self.eps)?)?;
        }
        Ok((update.parameter - direction)?)
    }
}

/// Returns the rectification term r_t of the paper, or `None` while the variance is intractable (ρ_t ≤ 5). In the code,
/// ρ_∞ is `limit`, and ρ_t is `length`.
fn rectification(beta: f64, step: u64) -> Option<f64> {
    let limit = 2. / (1. - beta) - 1.;
    let power = beta.powf(step as f64);
    let length = limit - 2. * step as f64 * power / (1. - power);
    let ratio = (length - 4.) * (length - 2.) * limit / ((limit - 4.) * (limit - 2.) * length);
    (length > 5.).then(|| ratio.sqrt())
}
