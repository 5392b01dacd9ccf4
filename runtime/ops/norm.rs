//! Normalization.

use candle_core::{DType, Tensor};

use crate::graph::Op;
use crate::kernels::norm;
use crate::signal::{Batch, Leading, Signal, add_operands};

use super::NormalizedShape;

/// Normalizes over the last dimensions, then multiplies by `weight` and adds `bias`. `normalized_shape` is the shape of
/// these dimensions, of `weight` and of `bias`. The layer is [`LayerNorm`](crate::layers::LayerNorm). PyTorch's default
/// for `eps` is 1e-5.
///
/// The output has the shape of `x`. It is a failed signal if the shape of `x` does not end with `normalized_shape`.
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
    let op = Op::LayerNorm { dims: shape.len(), eps };
    x.into().apply(("layer_norm", op, [weight, bias]), Leading, |x| {
        add_operands([weight, bias]);
        norm::layer_norm(&x, &shape, weight, bias, eps)
    })
}

/// Divides by the root mean square over the last dimensions, then multiplies by `weight`. `normalized_shape` is the
/// shape of these dimensions and of `weight`. If `eps` is `None`, uses the machine epsilon of the input's dtype. The
/// layer is [`RmsNorm`](crate::layers::RmsNorm).
///
/// The output has the shape of `x`. It is a failed signal if the shape of `x` does not end with `normalized_shape`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[3f32, 4.]], &Device::Cpu)?;
/// let y = rms_norm(&x, 2, None, None).into_tensor()?.to_vec2::<f32>()?;
/// // The root mean square is √12.5.
/// assert!((y[0][0] - 0.8485).abs() < 1e-4 && (y[0][1] - 1.1314).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn rms_norm(
    x: impl Into<Signal>,
    normalized_shape: impl Into<NormalizedShape>,
    weight: Option<&Tensor>,
    eps: impl Into<Option<f64>>,
) -> Signal {
    let NormalizedShape(shape) = normalized_shape.into();
    let x = x.into();
    let Ok(dtype) = x.dtype() else { return x };
    let eps = eps.into().unwrap_or_else(|| epsilon(dtype));
    let op = Op::RmsNorm { dims: shape.len(), eps };
    x.apply(("rms_norm", op, [weight]), Leading, |x| {
        add_operands(weight);
        norm::rms_norm(&x, &shape, weight, eps)
    })
}

/// Divides the channels of each example of `[batch, channels, …]` into `num_groups` groups of consecutive channels
/// and normalizes each group, then multiplies by `weight` and adds `bias` (`[channels]` each). The layer is
/// [`GroupNorm`](crate::layers::GroupNorm). PyTorch's default for `eps` is 1e-5.
///
/// The output has the shape of `x`. It is a failed signal if `num_groups` does not divide the number of channels.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 3., 10., 30.]], &Device::Cpu)?; // 4 channels in 2 groups
/// let y = group_norm(&x, 2, None, None, 1e-5).into_tensor()?;
/// let expected = Tensor::new(&[[-1f32, 1., -1., 1.]], &Device::Cpu)?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn group_norm(
    x: impl Into<Signal>,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Signal {
    let op = Op::GroupNorm { groups: num_groups, eps };
    x.into().apply(("group_norm", op, [weight, bias]), Batch, |x| {
        add_operands([weight, bias]);
        norm::group_norm(&x, num_groups, weight, bias, eps)
    })
}

/// Normalizes each channel of each example of `[batch, channels, length, …]`, then multiplies by `weight` and adds
/// `bias` (`[channels]` each). The layer, [`InstanceNorm`](crate::layers::InstanceNorm), also supports running
/// statistics. PyTorch's default for `eps` is 1e-5.
///
/// The output has the shape of `x`. It is a failed signal if `x` has fewer than three dimensions, or only one value per
/// channel.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3.], [10., 30.]]], &Device::Cpu)?; // 2 channels of length 2
/// let y = instance_norm(&x, None, None, 1e-5).into_tensor()?;
/// let expected = Tensor::new(&[[[-1f32, 1.], [-1., 1.]]], &Device::Cpu)?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn instance_norm(
    x: impl Into<Signal>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Signal {
    x.into().apply(("instance_norm", Op::InstanceNorm { eps }, [weight, bias]), Batch, |x| {
        add_operands([weight, bias]);
        norm::instance_norm(&x, weight, bias, eps)
    })
}

/// Returns the machine epsilon of a floating-point dtype.
pub(crate) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => half::f16::EPSILON.to_f64(),
        DType::BF16 => half::bf16::EPSILON.to_f64(),
        _ => f32::EPSILON.into(),
    }
}
