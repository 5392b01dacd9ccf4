//! Adam and its relatives: moving averages of the gradient and of its square.

use candle_core::Tensor;

use super::rule::{Moment, Rule, bias_correction, fraction, moving_average, not_negative, setters};
use crate::Result;
use crate::kernels::internal::descent::cuda::AdamStep;
use crate::kernels::internal::descent::{AdamUpdate, Blend};

/// Adam, as `torch.optim.Adam` (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015;
/// AMSGrad after Reddi et al., "On the Convergence of Adam and Beyond", 2018). Weight decay is an L2 penalty.
#[derive(Clone, Debug)]
pub struct Adam {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
}

/// Adam with weight decay that acts on the parameters themselves, as `torch.optim.AdamW` (Loshchilov and
/// Hutter, "Decoupled Weight Decay Regularization", 2019).
#[derive(Clone, Debug)]
pub struct AdamW {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
}

/// Adam with the largest gradient in place of the mean square, as `torch.optim.Adamax` (Kingma and Ba, 2015).
#[derive(Clone, Debug)]
pub struct Adamax {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// Adam that waits with its adaptive rate until there are gradients enough to know it, as
/// `torch.optim.RAdam` (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020).
#[derive(Clone, Debug)]
pub struct RAdam {
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Adam {
    /// Adam with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0., amsgrad: false }
    }
}

impl AdamW {
    /// AdamW with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01, amsgrad: false }
    }
}

impl Adamax {
    /// Adamax with the learning rate `rate`; PyTorch's default is 0.002.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0. }
    }
}

impl RAdam {
    /// RAdam with the learning rate `rate`; PyTorch's default is 0.001.
    pub fn new(rate: f64) -> Self {
        Self { rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0. }
    }
}

macro_rules! adam_setters {
    ($($optimizer:ident)*) => {$(
        setters!($optimizer {
            /// How much of the two moving averages each step keeps, by default (0.9, 0.999).
            betas: (f64, f64),
            /// What is added to the denominator, by default 1e-8.
            eps: f64,
            /// The factor of the weight decay, by default 0 (of [`AdamW`], 0.01).
            weight_decay: f64,
        });

        impl $optimizer {
            fn check(&self) -> Result<()> {
                fraction("the first of betas", self.betas.0)?;
                fraction("the second of betas", self.betas.1)?;
                not_negative("eps", self.eps)?;
                not_negative("weight_decay", self.weight_decay)
            }
        }
    )*};
}

adam_setters!(Adam AdamW Adamax RAdam);
setters!(Adam {
    /// Whether the denominator may never fall, by default it may.
    amsgrad: bool,
});
setters!(AdamW {
    /// Whether the denominator may never fall, by default it may.
    amsgrad: bool,
});

impl Rule for Adam {
    const NAME: &'static str = "Adam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        averages(self.amsgrad)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let Moment { state, step, rate, parameter, .. } = at;
        Ok((parameter - adam_step(self.betas, self.eps, &gradient, state, step, rate)?)?)
    }

    fn update_in_place(&self, at: &Moment) -> Result<bool> {
        adam_step_in_place(self.betas, self.eps, 1., self.weight_decay, at)
    }
}

impl Rule for AdamW {
    const NAME: &'static str = "AdamW";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        averages(self.amsgrad)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let Moment { state, step, rate, parameter, gradient } = at;
        let decayed = (parameter * (1. - rate * self.weight_decay))?;
        Ok((decayed - adam_step(self.betas, self.eps, gradient, state, step, rate)?)?)
    }

    fn update_in_place(&self, at: &Moment) -> Result<bool> {
        adam_step_in_place(self.betas, self.eps, 1. - at.rate * self.weight_decay, 0., at)
    }
}

/// The moments of [`Adam`] and [`AdamW`].
fn averages(amsgrad: bool) -> Vec<&'static str> {
    if amsgrad { vec!["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { vec!["exp_avg", "exp_avg_sq"] }
}

/// What Adam takes from the parameter; `state` is of [`averages`].
fn adam_step(
    betas: (f64, f64),
    eps: f64,
    gradient: &Tensor,
    state: &mut [Tensor],
    step: u64,
    rate: f64,
) -> Result<Tensor> {
    let [mean, square, largest @ ..] = state else { return Ok(gradient.zeros_like()?) };
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

/// [`adam_step`] and what follows it, in place: the parameter keeps `keep` of itself; of it, `decay` is added to
/// the gradient.
fn adam_step_in_place(betas: (f64, f64), eps: f64, keep: f64, decay: f64, at: &Moment) -> Result<bool> {
    let [mean, square] = &*at.state else { return Ok(false) };
    let rate = at.rate / bias_correction(betas.0, at.step);
    let correction = bias_correction(betas.1, at.step).sqrt();
    if at.is_for_cuda() {
        let ((keep_mean, keep_square), correction) = (betas, 1. / correction);
        let step = AdamStep { rate, keep_mean, keep_square, correction, eps, keep, decay };
        step.apply([at.parameter, mean, square], at.gradient)?;
        return Ok(true);
    }
    if decay != 0. || !at.is_for_kernels() {
        return Ok(false);
    }
    Blend::average(betas.0).apply(mean, at.gradient)?;
    Blend { squared: true, ..Blend::average(betas.1) }.apply(square, at.gradient)?;
    AdamUpdate { keep, rate, correction, eps }.apply(at.parameter, mean, square)?;
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

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let [mean, largest] = at.state else { return Ok(at.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *largest = (&*largest * self.betas.1)?.broadcast_maximum(&(gradient.abs()? + self.eps)?)?;
        let rate = at.rate / bias_correction(self.betas.0, at.step);
        Ok((at.parameter - ((&*mean * rate)? / &*largest)?)?)
    }
}

impl Rule for RAdam {
    const NAME: &'static str = "RAdam";

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn moments(&self) -> Vec<&'static str> {
        averages(false)
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn update(&self, at: Moment) -> Result<Tensor> {
        let gradient = at.decayed_gradient(self.weight_decay)?;
        let [mean, square] = at.state else { return Ok(at.parameter.clone()) };
        *mean = moving_average(mean, self.betas.0, &gradient)?;
        *square = moving_average(square, self.betas.1, &gradient.sqr()?)?;
        let mut direction = (&*mean * (at.rate / bias_correction(self.betas.0, at.step)))?;
        if let Some(rectification) = rectification(self.betas.1, at.step) {
            let factor = rectification * bias_correction(self.betas.1, at.step).sqrt();
            direction = ((direction * factor)? / (square.sqrt()? + self.eps)?)?;
        }
        Ok((at.parameter - direction)?)
    }
}

/// The paper's r_t; none while the variance of the adaptive rate is not known yet (ρ_t ≤ 5).
fn rectification(beta: f64, step: u64) -> Option<f64> {
    let limit = 2. / (1. - beta) - 1.;
    let power = beta.powf(step as f64);
    let length = limit - 2. * step as f64 * power / (1. - power);
    let ratio = (length - 4.) * (length - 2.) * limit / ((limit - 4.) * (limit - 2.) * length);
    (length > 5.).then(|| ratio.sqrt())
}
