//! Convolutions with the weight as an argument.

use candle_core::Tensor;

use crate::kernels::internal::Axes;
use crate::layers::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvCore, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, ConvTransposeCore,
};
use crate::signal::Signal;

/// Convolves sequences. The corresponding layer is [`Conv1d`](crate::layers::Conv1d).
///
/// - `x`: `[batch, in_channels, length]` or `[in_channels, length]`
/// - `weight`: `[out_channels, in_channels / groups, kernel_size]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, length']`, without `batch` if `x` has none; a failed signal if the shapes or
///   options do not match
///
/// A following batch norm (in evaluation mode), residual addition and activation are fused into the convolution.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 4, 9), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((6, 2, 3), DType::F32, &Device::Cpu)?;
/// let y = relu(conv1d(x, &weight, None, Conv1dOptions::default().padding("same").groups(2)));
/// assert_eq!(y.dims()?, [2, 6, 9]);
/// # Ok(())
/// # }
/// ```
pub fn conv1d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: Conv1dOptions,
) -> Signal {
    ConvCore::from_tensors(Axes::One, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// Convolves images. The corresponding layer is [`Conv2d`](crate::layers::Conv2d).
///
/// - `x`: `[batch, in_channels, height, width]` or `[in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels / groups, kernel_height, kernel_width]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, height', width']`, without `batch` if `x` has none; a failed signal if the shapes
///   or options do not match
///
/// A following batch norm (in evaluation mode), residual addition and activation are fused into the convolution.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let blur = Tensor::full(1f32 / 9., (3, 1, 3, 3), &Device::Cpu)?;
/// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let y = conv2d(x, &blur, None, Conv2dOptions::default().groups(3).stride(2).padding(1));
/// assert_eq!(y.dims()?, [1, 3, 4, 4]);
/// # Ok(())
/// # }
/// ```
pub fn conv2d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: Conv2dOptions,
) -> Signal {
    ConvCore::from_tensors(Axes::Two, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// Convolves videos, or other volumes. The corresponding layer is [`Conv3d`](crate::layers::Conv3d).
///
/// - `x`: `[batch, in_channels, depth, height, width]` or `[in_channels, depth, height, width]`
/// - `weight`: `[out_channels, in_channels / groups, kernel_depth, kernel_height, kernel_width]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, depth', height', width']`, without `batch` if `x` has none; a failed signal if the
///   shapes or options do not match
///
/// A following batch norm (in evaluation mode), residual addition and activation are fused into the convolution.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let blur = Tensor::full(1f32 / 27., (3, 1, 3, 3, 3), &Device::Cpu)?;
/// let x = Tensor::ones((1, 3, 6, 8, 8), DType::F32, &Device::Cpu)?;
/// let y = conv3d(x, &blur, None, Conv3dOptions::default().groups(3).stride(2).padding(1));
/// assert_eq!(y.dims()?, [1, 3, 3, 4, 4]);
/// # Ok(())
/// # }
/// ```
pub fn conv3d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: Conv3dOptions,
) -> Signal {
    ConvCore::from_tensors(Axes::Three, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// Applies a transposed convolution to sequences. The corresponding layer is
/// [`ConvTranspose1d`](crate::layers::ConvTranspose1d).
///
/// - `x`: `[batch, in_channels, length]` or `[in_channels, length]`
/// - `weight`: `[in_channels, out_channels / groups, kernel_size]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, length']`, without `batch` if `x` has none; a failed signal if the shapes or
///   options do not match
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 4, 9), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((4, 6, 2), DType::F32, &Device::Cpu)?;
/// let y = conv_transpose1d(x, &weight, None, ConvTranspose1dOptions::default().stride(2));
/// assert_eq!(y.dims()?, [2, 6, 18]);
/// # Ok(())
/// # }
/// ```
pub fn conv_transpose1d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTranspose1dOptions,
) -> Signal {
    ConvTransposeCore::from_tensors(Axes::One, weight, bias, options.settings)
        .map(|conv| conv.call(x.into()))
        .into()
}

/// Applies a transposed convolution to images. The corresponding layer is
/// [`ConvTranspose2d`](crate::layers::ConvTranspose2d).
///
/// - `x`: `[batch, in_channels, height, width]` or `[in_channels, height, width]`
/// - `weight`: `[in_channels, out_channels / groups, kernel_height, kernel_width]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, height', width']`, without `batch` if `x` has none; a failed signal if the shapes
///   or options do not match
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let weight = Tensor::ones((4, 2, 3, 3), DType::F32, &Device::Cpu)?;
/// let x = Tensor::ones((1, 4, 5, 7), DType::F32, &Device::Cpu)?;
/// let options = ConvTranspose2dOptions::default().stride(2).padding(1).output_padding((1, 0));
/// assert_eq!(conv_transpose2d(x, &weight, None, options).dims()?, [1, 2, 10, 13]);
/// # Ok(())
/// # }
/// ```
pub fn conv_transpose2d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTranspose2dOptions,
) -> Signal {
    ConvTransposeCore::from_tensors(Axes::Two, weight, bias, options.settings)
        .map(|conv| conv.call(x.into()))
        .into()
}

/// Applies a transposed convolution to videos, or other volumes. The corresponding layer is
/// [`ConvTranspose3d`](crate::layers::ConvTranspose3d).
///
/// - `x`: `[batch, in_channels, depth, height, width]` or `[in_channels, depth, height, width]`
/// - `weight`: `[in_channels, out_channels / groups, kernel_depth, kernel_height, kernel_width]`
/// - `bias`: `[out_channels]`
/// - output: `[batch, out_channels, depth', height', width']`, without `batch` if `x` has none; a failed signal if the
///   shapes or options do not match
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let weight = Tensor::ones((4, 2, 3, 3, 3), DType::F32, &Device::Cpu)?;
/// let x = Tensor::ones((1, 4, 2, 5, 7), DType::F32, &Device::Cpu)?;
/// let options = ConvTranspose3dOptions::default().stride(2).padding(1).output_padding((0, 1, 0));
/// assert_eq!(conv_transpose3d(x, &weight, None, options).dims()?, [1, 2, 3, 10, 13]);
/// # Ok(())
/// # }
/// ```
pub fn conv_transpose3d(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTranspose3dOptions,
) -> Signal {
    ConvTransposeCore::from_tensors(Axes::Three, weight, bias, options.settings)
        .map(|conv| conv.call(x.into()))
        .into()
}
