//! Normalisation.

use candle_core::{DType, Tensor};

use super::NormalizedShape;
use crate::kernels::norm;
use crate::signal::Signal;

/// Normalises over the last dimensions, which are `normalized_shape`, then applies `weight` and `bias` of
/// that shape. [`LayerNorm`](crate::layers::LayerNorm) is the layer; PyTorch's `eps` is 1e-5.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| layer_norm(x, 4, Some(&scale), None, 1e-5))]
/// struct Scaled {
///     #[param((4,), init = ones)]
///     scale: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let y = Scaled::new(&Device::Cpu)?.forward(&Tensor::new(&[[1f32, 1., 3., 3.]], &Device::Cpu)?)?;
/// let expected = Tensor::new(&[[-1f32, -1., 1., 1.]], &Device::Cpu)?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn layer_norm(
    x: impl Into<Signal>,
    normalized_shape: impl Into<NormalizedShape>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Signal {
    let NormalizedShape(shape) = normalized_shape.into();
    x.into().apply("layer_norm", |x| norm::layer_norm(&x, &shape, weight, bias, eps))
}

/// Divides by the root of the mean square over the last dimensions, which are `normalized_shape`, then
/// applies `weight` of that shape; `None` for `eps` is the epsilon of the input's type.
/// [`RmsNorm`](crate::layers::RmsNorm) is the layer.
pub fn rms_norm(
    x: impl Into<Signal>,
    normalized_shape: impl Into<NormalizedShape>,
    weight: Option<&Tensor>,
    eps: impl Into<Option<f64>>,
) -> Signal {
    let (NormalizedShape(shape), eps) = (normalized_shape.into(), eps.into());
    x.into().apply("rms_norm", |x| {
        let eps = eps.unwrap_or_else(|| epsilon(x.dtype()));
        norm::rms_norm(&x, &shape, weight, eps)
    })
}

/// Normalises each of `num_groups` runs of channels of `[batch, channels, …]`, then applies `weight` and
/// `bias` (`[channels]` each). [`GroupNorm`](crate::layers::GroupNorm) is the layer; PyTorch's `eps` is 1e-5.
pub fn group_norm(
    x: impl Into<Signal>,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Signal {
    x.into().apply("group_norm", |x| norm::group_norm(&x, num_groups, weight, bias, eps))
}

/// Normalises each channel of each example of `[batch, channels, length, …]` by its own statistics, then
/// applies `weight` and `bias` (`[channels]` each). [`InstanceNorm`](crate::layers::InstanceNorm) is the
/// layer, which knows running statistics as well; PyTorch's `eps` is 1e-5.
pub fn instance_norm(
    x: impl Into<Signal>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Signal {
    x.into().apply("instance_norm", |x| norm::instance_norm(&x, weight, bias, eps))
}

/// The distance from 1 to the next number of a float type.
pub(crate) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => half::f16::EPSILON.to_f64(),
        DType::BF16 => half::bf16::EPSILON.to_f64(),
        _ => f32::EPSILON.into(),
    }
}
