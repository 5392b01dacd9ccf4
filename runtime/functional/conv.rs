//! Convolutions with given weights.

use candle_core::Tensor;

use crate::kernels::internal::Axes;
use crate::layers::{
    Conv1dOptions, Conv2dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, Plain, Transposed,
};
use crate::signal::Signal;

/// Convolves `[batch, in_channels, length]` with a weight `[out_channels, in_channels / groups, size]`; as
/// in a layer, what follows runs inside the same kernel.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let (x, weight) = (Tensor::ones((2, 4, 9), DType::F32, &Device::Cpu)?, Tensor::ones((6, 2, 3), DType::F32, &Device::Cpu)?);
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
    Plain::of(Axes::One, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// Convolves `[batch, in_channels, height, width]` with a weight
/// `[out_channels, in_channels / groups, height, width]`; as in a layer, what follows runs inside the same
/// kernel.
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
    Plain::of(Axes::Two, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// The transposed convolution of `[batch, in_channels, length]` with a weight
/// `[in_channels, out_channels / groups, size]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let (x, weight) = (Tensor::ones((2, 4, 9), DType::F32, &Device::Cpu)?, Tensor::ones((4, 6, 2), DType::F32, &Device::Cpu)?);
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
    Transposed::of(Axes::One, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}

/// The transposed convolution of `[batch, in_channels, height, width]` with a weight
/// `[in_channels, out_channels / groups, height, width]`.
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
    Transposed::of(Axes::Two, weight, bias, options.settings).map(|conv| conv.call(x.into())).into()
}
