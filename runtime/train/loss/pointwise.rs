//! Losses computed element by element.

use candle_core::Tensor;

use crate::kernels::arithmetic::{Unary, unary};
use crate::{Error, Result};

use super::{Loss, Reduction, in_full_precision};

/// Returns the mean of `(input − target)²`. Both tensors have the same shape.
///
/// # Errors
/// Fails if the shapes differ or `input` is not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// assert_eq!(mse_loss(&x, &y)?.to_scalar::<f32>()?, 4.5);
/// # Ok(())
/// # }
/// ```
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    MseLoss::new().forward(input, target)
}

/// Returns the mean of `|input − target|`. Both tensors have the same shape.
///
/// # Errors
/// Fails if the shapes differ or `input` is not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// assert_eq!(l1_loss(&x, &y)?.to_scalar::<f32>()?, 1.5);
/// # Ok(())
/// # }
/// ```
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    L1Loss::new().forward(input, target)
}

/// Returns the mean [`SmoothL1Loss`] with a `beta` of 1.
///
/// # Errors
/// Fails if the shapes differ or `input` is not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1.5f32, 5.], &Device::Cpu)?;
/// assert_eq!(smooth_l1_loss(&x, &y)?.to_scalar::<f32>()?, 1.3125);
/// # Ok(())
/// # }
/// ```
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    SmoothL1Loss::new().forward(input, target)
}

/// Returns the mean [`HuberLoss`] with a `delta` of 1.
///
/// # Errors
/// Fails if the shapes differ or `input` is not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1.5f32, 5.], &Device::Cpu)?;
/// assert_eq!(huber_loss(&x, &y)?.to_scalar::<f32>()?, 1.3125);
/// # Ok(())
/// # }
/// ```
pub fn huber_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    HuberLoss::new().forward(input, target)
}

/// Returns the mean binary cross entropy of `logits` and the probabilities `target` of the same shape. See
/// [`BceWithLogitsLoss`].
///
/// # Errors
/// Fails if the shapes differ or the logits are not floating point.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[0f32, 100.], &Device::Cpu)?;
/// let target = Tensor::new(&[1f32, 1.], &Device::Cpu)?;
/// let loss = bce_with_logits(&logits, &target)?.to_scalar::<f32>()?;
/// assert!((loss - 0.34657).abs() < 1e-4); // (ln 2 + 0) / 2
/// # Ok(())
/// # }
/// ```
pub fn bce_with_logits(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    BceWithLogitsLoss::new().forward(logits, target)
}

/// The squared error, like `torch.nn.MSELoss`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// assert_eq!(MseLoss::new().reduction(Reduction::Sum).forward(&x, &y)?.to_scalar::<f32>()?, 9.);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "MSELoss")]
#[derive(Clone, Debug, Default)]
pub struct MseLoss {
    reduction: Reduction,
}

/// The absolute error, like `torch.nn.L1Loss`. The gradient of an element whose error is 0 is 0.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[1f32, 5.], &Device::Cpu)?;
/// assert_eq!(L1Loss::new().reduction(Reduction::Sum).forward(&x, &y)?.to_scalar::<f32>()?, 3.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct L1Loss {
    reduction: Reduction,
}

/// A loss that is quadratic for errors below `beta` and linear above it, like `torch.nn.SmoothL1Loss`. Equals
/// [`HuberLoss`] with a `delta` of `beta`, divided by `beta`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[2f32, 12.], &Device::Cpu)?;
/// let losses = SmoothL1Loss::new().beta(2.).reduction(Reduction::None).forward(&x, &y)?;
/// assert_eq!(losses.to_vec1::<f32>()?, [0.25, 9.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SmoothL1Loss {
    reduction: Reduction,
    beta: f64,
}

/// A loss that is quadratic for errors up to `delta` and linear above it, like `torch.nn.HuberLoss` (Huber, "Robust
/// Estimation of a Location Parameter", 1964).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let y = Tensor::new(&[2f32, 12.], &Device::Cpu)?;
/// let losses = HuberLoss::new().delta(2.).reduction(Reduction::None).forward(&x, &y)?;
/// assert_eq!(losses.to_vec1::<f32>()?, [0.5, 18.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HuberLoss {
    reduction: Reduction,
    delta: f64,
}

/// Binary cross entropy of logits, like `torch.nn.BCEWithLogitsLoss`. Unlike a sigmoid followed by a logarithm, this
/// loss is finite for all finite logits.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[0f32, 0.]], &Device::Cpu)?;
/// let target = Tensor::new(&[[1f32, 0.]], &Device::Cpu)?;
/// // A positive example of the first class counts three times.
/// let weight = Tensor::new(&[3f32, 1.], &Device::Cpu)?;
/// let loss = BceWithLogitsLoss::new().pos_weight(weight).reduction(Reduction::Sum);
/// let loss = loss.forward(&logits, &target)?.to_scalar::<f32>()?;
/// assert!((loss - 2.7726).abs() < 1e-4); // 4 ln 2
/// # Ok(())
/// # }
/// ```
#[doc(alias = "BCEWithLogitsLoss")]
#[derive(Clone, Debug, Default)]
pub struct BceWithLogitsLoss {
    reduction: Reduction,
    weight: Option<Tensor>,
    pos_weight: Option<Tensor>,
}

macro_rules! reduction_setter {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// Creates the loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets the reduction, by default [`Reduction::Mean`].
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
    /// Sets the error above which the loss is linear, by default 1. With a `beta` of 0, the loss equals [`L1Loss`].
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }
}

impl HuberLoss {
    /// Sets the error above which the loss is linear, by default 1.
    pub fn delta(mut self, delta: f64) -> Self {
        self.delta = delta;
        self
    }
}

impl BceWithLogitsLoss {
    /// Sets a factor for the loss of each element. The shape of `weight` must broadcast to the shape of the logits.
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Sets a factor for the loss of positive examples. The shape of `weight` must broadcast to the shape of the
    /// logits.
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
        check_threshold("SmoothL1Loss", "a beta of at least 0", self.beta, self.beta >= 0.)?;
        pointwise("SmoothL1Loss", input, target, self.reduction, |x, y| match (x - y)? {
            error if self.beta == 0. => absolute(&error),
            error => Ok((huber(&error, self.beta)? / self.beta)?),
        })
    }
}

impl Loss for HuberLoss {
    fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        check_threshold("HuberLoss", "a delta above 0", self.delta, self.delta > 0.)?;
        pointwise("HuberLoss", input, target, self.reduction, |x, y| huber(&(x - y)?, self.delta))
    }
}

impl Loss for BceWithLogitsLoss {
    fn forward(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        pointwise("BceWithLogitsLoss", logits, target, self.reduction, |x, y| {
            // The loss, with the positive weight p, is −p·y·log σ(x) − (1 − y)·log(1 − σ(x)). With
            // log σ(x) = −softplus(−x) and log(1 − σ(x)) = −x − softplus(−x), it equals
            // (1 − y)·x + (1 + (p − 1)·y)·softplus(−x).
            let mut positive = softplus(&x.neg()?)?;
            if let Some(p) = &self.pos_weight {
                let factor = y.broadcast_mul(&(convert_like(p, x)? - 1.)?)?.affine(1., 1.)?;
                positive = (positive * check_broadcast(factor, x, "pos_weight", p)?)?;
            }
            let losses = ((y.affine(-1., 1.)? * x)? + positive)?;
            match &self.weight {
                Some(w) => check_broadcast(losses.broadcast_mul(&convert_like(w, x)?)?, x, "weight", w),
                None => Ok(losses),
            }
        })
    }
}

/// Checks the shapes, computes the loss of each element in f32 or f64, and reduces the losses.
pub(super) fn pointwise(
    name: &str,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    losses: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let loss = in_full_precision(input, |input| {
        if input.dims() != target.dims() {
            let expected = input.dims();
            let found = target.dims();
            return Err(Error::msg(format!(
                "expected a target of the input's shape {expected:?}, found {found:?}"
            )));
        }
        reduction.apply(&losses(input, &target.to_dtype(input.dtype())?)?)
    });
    loss.map_err(|e| e.in_layer(name))
}

/// Returns `|x|` with the gradient `sign(x)`, which is 0 at 0. The gradient of candle's `abs` is 1 at 0.
fn absolute(x: &Tensor) -> Result<Tensor> {
    Ok((x * x.detach().sign()?)?)
}

/// Returns `x²/2` if `|x| ≤ delta`, and `delta·(|x| − delta/2)` otherwise.
///
/// This equals `c·(x − c/2)`, where `c` is `x` clamped to ±delta. The derivative with respect to `x` is
/// `c + c′·(x − c)`. Detaching `c` drops the second term, which is always 0: `c` either is constant or equals `x`.
fn huber(x: &Tensor, delta: f64) -> Result<Tensor> {
    let clamped = unary(Unary::Clamp { min: -delta, max: delta }, &x.detach())?;
    Ok((&clamped * (x - (&clamped * 0.5)?)?)?)
}

/// Returns `log(1 + eˣ)`, computed as `max(x, 0) + log1p(e^−|x|)`, which is accurate for large |x|.
///
/// At 0, candle's derivatives of `max(x, 0)` and of `|x|` are both 1. The derivative of the result is then 1 − 1/2 =
/// 1/2, which is correct.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.neg()?.exp()?;
    let sum = (&small + 1.)?;
    // Correct the rounding error of `1 + small` to first order; otherwise a tiny loss would be 0. The correction is
    // detached because the gradient of `log(sum)` is already correct.
    let rounded = sum.detach();
    let exact = small.detach();
    let correction = ((exact - (&rounded - 1.)?)? / rounded)?;
    Ok((x.relu()? + (sum.log()? + correction)?)?)
}

/// Converts `weight` to the dtype and the device of `x`.
fn convert_like(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(weight.to_dtype(x.dtype())?.to_device(x.device())?)
}

/// Returns `product`, or an error if `weight` broadcasts the logits to a different shape.
fn check_broadcast(product: Tensor, x: &Tensor, name: &str, weight: &Tensor) -> Result<Tensor> {
    if product.dims() == x.dims() {
        return Ok(product);
    }
    let found = weight.dims();
    let logits = x.dims();
    Err(Error::msg(format!("expected a {name} that broadcasts to {logits:?}, found {found:?}")))
}

/// Returns an error unless `valid` is set. `expected` describes valid values in the error.
fn check_threshold(loss: &str, expected: &str, value: f64, valid: bool) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::msg(format!("expected {expected}, found {value}")).in_layer(loss)) }
}
