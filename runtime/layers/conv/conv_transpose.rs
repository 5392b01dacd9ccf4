//! The 1D and 2D transposed convolutions.

use crate::kernels::conv::TransposeGeometry;
use crate::kernels::internal::Axes;
use crate::ops::{Pair, Triple};

use super::conv_transpose_core::ConvTransposeCore;
use super::{Arguments, layer, output_size, setters};

/// Applies a transposed convolution to sequences, with learned weights.
///
/// - Config: `ConvTranspose1d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `output_padding` (0), `groups` (1), `bias` (true), `dilation` (1)
/// - Input: `[batch, in_channels, length]` or `[in_channels, length]`; `up(x, length')` in a forward closure sets the
///   length of the output, PyTorch's `output_size`
/// - Output: `[batch, out_channels, length']` with
///   `length' = (length - 1) · stride - 2 · padding + dilation · (kernel_size - 1) + output_padding + 1`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if
///   `output_padding` is at least as large as both `stride` and `dilation`; if the input has the wrong number of
///   channels; or if the output would be empty
///
/// The corresponding function is [`conv_transpose1d`](crate::functional::conv_transpose1d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose1d::config(16, 8, 4).stride(2).padding(1).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 16, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(up.call(x.into(), Mode::Eval).dims()?, [8, 8, 64]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConvTranspose1d(ConvTransposeCore);

/// Applies a transposed convolution to images, with learned weights.
///
/// - Config: `ConvTranspose2d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `output_padding` (0), `groups` (1), `bias` (true), `dilation` (1)
/// - Input: `[batch, in_channels, height, width]` or `[in_channels, height, width]`; `up(x, (height', width'))` in a
///   forward closure sets the size of the output, PyTorch's `output_size`
/// - Output: `[batch, out_channels, height', width']` with, on each axis,
///   `size' = (size - 1) · stride - 2 · padding + dilation · (kernel_size - 1) + output_padding + 1`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if
///   `output_padding` is at least as large as both `stride` and `dilation`; if the input has the wrong number of
///   channels; or if the output would be empty
///
/// Sizes are one number for both axes, or `(height, width)`. The corresponding function is
/// [`conv_transpose2d`](crate::functional::conv_transpose2d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose2d::config(16, 8, 3).stride(2).padding(1).output_padding((1, 0)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 16, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(up.call(x.into(), Mode::Eval).dims()?, [8, 8, 64, 63]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConvTranspose2d(ConvTransposeCore);

/// The config of [`ConvTranspose1d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose1d::config(16, 8, 4).stride(2).padding(1).bias(false).init(&Device::Cpu)?;
/// assert_eq!(up.weight().dims(), [16, 8, 4]);
/// assert_eq!(up.forward(Tensor::zeros((1, 16, 10), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 20]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose1dConfig {
    arguments: Arguments,
    settings: TransposeGeometry<3>,
}

/// The config of [`ConvTranspose2d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose2d::config(16, 8, 4).stride(2).padding(1).groups(4).init(&Device::Cpu)?;
/// assert_eq!(up.weight().dims(), [16, 2, 4, 4]);
/// assert_eq!(up.forward(Tensor::zeros((1, 16, 10, 9), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 20, 18]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose2dConfig {
    arguments: Arguments,
    settings: TransposeGeometry<3>,
}

/// The settings of [`conv_transpose1d`](crate::functional::conv_transpose1d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 16, 10), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((16, 8, 4), DType::F32, &Device::Cpu)?;
/// let options = ConvTranspose1dOptions::default().stride(2).padding(1);
/// assert_eq!(conv_transpose1d(x, &weight, None, options).dims()?, [1, 8, 20]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose1dOptions {
    pub(crate) settings: TransposeGeometry<3>,
}

/// The settings of [`conv_transpose2d`](crate::functional::conv_transpose2d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 16, 10, 9), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((16, 8, 4, 4), DType::F32, &Device::Cpu)?;
/// let options = ConvTranspose2dOptions::default().stride(2).padding(1);
/// assert_eq!(conv_transpose2d(x, &weight, None, options).dims()?, [1, 8, 20, 18]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose2dOptions {
    pub(crate) settings: TransposeGeometry<3>,
}

impl ConvTranspose1d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: usize) -> ConvTranspose1dConfig {
        let arguments = Arguments::new(in_channels, out_channels, Triple::of_length(kernel_size, 1));
        ConvTranspose1dConfig { arguments, settings: TransposeGeometry::default() }
    }
}

impl ConvTranspose2d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
    ) -> ConvTranspose2dConfig {
        let arguments = Arguments::new(in_channels, out_channels, Triple::of_image(kernel_size.into(), 1));
        ConvTranspose2dConfig { arguments, settings: TransposeGeometry::default() }
    }
}

setters! { ConvTranspose1dConfig, ConvTranspose1dOptions: {
    /// Sets the step between windows of the output.
    stride(stride: usize) => Triple::of_length(stride, 1).0;
    /// Sets the number of elements that are removed from each end of the output.
    padding(padding: usize) => Triple::of_length(padding, 0).0;
    /// Sets the number of elements that are added to the end of the output. It must be smaller than the stride or the
    /// dilation.
    output_padding(padding: usize) => Triple::of_length(padding, 0).0;
    /// Sets the step between the elements of a window.
    dilation(dilation: usize) => Triple::of_length(dilation, 1).0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

setters! { ConvTranspose2dConfig, ConvTranspose2dOptions: {
    /// Sets the step between windows of the output.
    stride(stride: impl Into<Pair>) => Triple::of_image(stride.into(), 1).0;
    /// Sets the number of rows and columns that are removed from each side of the output.
    padding(padding: impl Into<Pair>) => Triple::of_image(padding.into(), 0).0;
    /// Sets the number of rows and columns that are added to the bottom and right of the output. It must be smaller
    /// than the stride or the dilation.
    output_padding(padding: impl Into<Pair>) => Triple::of_image(padding.into(), 0).0;
    /// Sets the step between the elements of a window.
    dilation(dilation: impl Into<Pair>) => Triple::of_image(dilation.into(), 1).0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

layer! {
    ConvTranspose1d(ConvTransposeCore, Axes::One), ConvTranspose1dConfig,
    "`[in_channels, out_channels / groups, kernel_size]`"
}

layer! {
    ConvTranspose2d(ConvTransposeCore, Axes::Two), ConvTranspose2dConfig,
    "`[in_channels, out_channels / groups, height, width]`"
}

output_size! { ConvTranspose1d, usize => |length| Triple::of_length(length, 1) }
output_size! { ConvTranspose2d, Pair => |size| Triple::of_image(size, 1) }
