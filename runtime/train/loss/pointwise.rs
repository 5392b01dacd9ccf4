//! Losses that compare input and target element by element.

use candle_core::Tensor;

use super::{Loss, Reduction, in_full_precision};
use crate::kernels::internal::clamp;
use crate::{Error, Result};

/// The mean of `(input − target)²`; both of one shape.
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    MseLoss::new().forward(input, target)
}

/// The mean of `|input − target|`; both of one shape.
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    L1Loss::new().forward(input, target)
}

/// [`SmoothL1Loss`] with its defaults.
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    SmoothL1Loss::new().forward(input, target)
}

/// [`HuberLoss`] with its defaults.
pub fn huber_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    HuberLoss::new().forward(input, target)
}

/// [`BceWithLogitsLoss`] with its defaults: the mean binary cross entropy of `logits` and the
/// probabilities `target` of the same shape.
pub fn bce_with_logits(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    BceWithLogitsLoss::new().forward(logits, target)
}

/// The squared error, as `torch.nn.MSELoss`.
#[derive(Clone, Debug, Default)]
pub struct MseLoss {
    reduction: Reduction,
}

/// The absolute error, as `torch.nn.L1Loss`. Its gradient is 0 where input and target are equal.
#[derive(Clone, Debug, Default)]
pub struct L1Loss {
    reduction: Reduction,
}

/// The squared error up to `beta` and the absolute error beyond, as `torch.nn.SmoothL1Loss`:
/// [`HuberLoss`] divided by `beta`.
#[derive(Clone, Debug)]
pub struct SmoothL1Loss {
    reduction: Reduction,
    beta: f64,
}

/// The squared error up to `delta` and a multiple of the absolute error beyond, as `torch.nn.HuberLoss`
/// (Huber, "Robust Estimation of a Location Parameter", 1964).
#[derive(Clone, Debug)]
pub struct HuberLoss {
    reduction: Reduction,
    delta: f64,
}

/// Binary cross entropy of logits, as `torch.nn.BCEWithLogitsLoss`: finite at logits of any size, where a
/// sigmoid followed by a logarithm is not.
#[derive(Clone, Debug, Default)]
pub struct BceWithLogitsLoss {
    reduction: Reduction,
    weight: Option<Tensor>,
    pos_weight: Option<Tensor>,
}

macro_rules! reduction_setter {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// The loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// How the elements' losses become one, by default their mean.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.reduction = reduction;
                self
            }
        }
    )*};
}

reduction_setter!(MseLoss L1Loss SmoothL1Loss HuberLoss BceWithLogitsLoss);

impl Default for SmoothL1Loss {
    fn default() -> Self {
        Self { reduction: Reduction::Mean, beta: 1. }
    }
}

impl Default for HuberLoss {
    fn default() -> Self {
        Self { reduction: Reduction::Mean, delta: 1. }
    }
}

impl SmoothL1Loss {
    /// The error at which the loss becomes linear, by default 1; at 0 it is [`L1Loss`].
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }
}

impl HuberLoss {
    /// The error at which the loss becomes linear, by default 1.
    pub fn delta(mut self, delta: f64) -> Self {
        self.delta = delta;
        self
    }
}

impl BceWithLogitsLoss {
    /// A factor for each element's loss, of a shape that broadcasts to the logits'.
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(weight);
        self
    }

    /// A factor for the positive part of each class, of a shape that broadcasts to the logits'.
    pub fn pos_weight(mut self, weight: Tensor) -> Self {
        self.pos_weight = Some(weight);
        self
    }
}

impl Loss for MseLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        pointwise("MseLoss", input, target, self.reduction, |x, y| Ok((x - y)?.sqr()?))
    }
}

impl Loss for L1Loss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        pointwise("L1Loss", input, target, self.reduction, |x, y| absolute(&(x - y)?))
    }
}

impl Loss for SmoothL1Loss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        check_threshold("SmoothL1Loss", "beta", self.beta, self.beta >= 0.)?;
        pointwise("SmoothL1Loss", input, target, self.reduction, |x, y| match (x - y)? {
            error if self.beta == 0. => absolute(&error),
            error => Ok((huber(&error, self.beta)? / self.beta)?),
        })
    }
}

impl Loss for HuberLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        check_threshold("HuberLoss", "delta", self.delta, self.delta > 0.)?;
        pointwise("HuberLoss", input, target, self.reduction, |x, y| huber(&(x - y)?, self.delta))
    }
}

impl Loss for BceWithLogitsLoss {
    fn forward(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        pointwise("BceWithLogitsLoss", logits, target, self.reduction, |x, y| {
            // −p·y·log σ(x) − (1 − y)·log(1 − σ(x)), with log σ(x) = −softplus(−x) and
            // log(1 − σ(x)) = −x − softplus(−x).
            let mut positive = softplus(&x.neg()?)?;
            if let Some(p) = &self.pos_weight {
                let factor = y.broadcast_mul(&(like(p, x)? - 1.)?)?.affine(1., 1.)?;
                positive = (positive * fits(factor, x, "pos_weight", p)?)?;
            }
            let losses = ((y.affine(-1., 1.)? * x)? + positive)?;
            match &self.weight {
                Some(w) => fits(losses.broadcast_mul(&like(w, x)?)?, x, "weight", w),
                None => Ok(losses),
            }
        })
    }
}

/// Checks the shapes, computes each element's loss in full precision, and reduces.
pub(super) fn pointwise(
    name: &str,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    losses: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let loss = in_full_precision(input, |input| {
        if input.dims() != target.dims() {
            let (expected, given) = (input.dims(), target.dims());
            return Err(Error::msg(format!(
                "expected a target of the input's shape {expected:?}, got {given:?}"
            )));
        }
        reduction.apply(&losses(input, &target.to_dtype(input.dtype())?)?)
    });
    loss.map_err(|e| e.in_layer(name))
}

/// `|x|` with the gradient sign(x), which is 0 at 0; that of candle's `abs` is 1 there.
fn absolute(x: &Tensor) -> Result<Tensor> {
    Ok((x * x.detach().sign()?)?)
}

/// `x²/2` where `|x| ≤ delta`, `delta·(|x| − delta/2)` elsewhere.
///
/// With `c` = x clamped to ±delta that is `c·(x − c/2)`, and the derivative of it is `c`: `c` itself may
/// be held constant, because its derivative is multiplied by `x − c`, which is 0 wherever `c` moves.
fn huber(x: &Tensor, delta: f64) -> Result<Tensor> {
    let clamped = clamp(&x.detach(), -delta, delta)?;
    Ok((&clamped * (x - (&clamped * 0.5)?)?)?)
}

/// `log(1 + eˣ)`, exact at both ends: `max(x, 0) + log1p(e^−|x|)`.
///
/// At 0 candle takes 1 for the derivative of both the maximum and the absolute value; together that gives
/// the true 1/2.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.neg()?.exp()?;
    let sum = (&small + 1.)?;
    // What `1 + small` rounded away, to first order; without it a tiny loss would be 0. It is held
    // constant: the gradient of `log(sum)` is right already.
    let (rounded, exact) = (sum.detach(), small.detach());
    let lost = ((exact - (&rounded - 1.)?)? / rounded)?;
    Ok((x.relu()? + (sum.log()? + lost)?)?)
}

/// `weight` in the type and on the device of `x`.
fn like(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(weight.to_dtype(x.dtype())?.to_device(x.device())?)
}

/// `product` unless `weight` was so large that it broadcast the logits instead of itself.
fn fits(product: Tensor, x: &Tensor, name: &str, weight: &Tensor) -> Result<Tensor> {
    if product.dims() == x.dims() {
        return Ok(product);
    }
    let (given, logits) = (weight.dims(), x.dims());
    Err(Error::msg(format!("expected a {name} that broadcasts to {logits:?}, got {given:?}")))
}

/// An error unless the threshold `value` is `valid`.
fn check_threshold(loss: &str, name: &str, value: f64, valid: bool) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::msg(format!("{name} cannot be {value}")).in_layer(loss)) }
}
