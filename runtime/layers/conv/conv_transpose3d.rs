//! The 3D transposed convolution.

use crate::kernels::conv::TransposeGeometry;
use crate::kernels::internal::Axes;
use crate::ops::Triple;

use super::conv_transpose_core::ConvTransposeCore;
use super::{Arguments, layer, output_size, setters};

/// Applies a transposed convolution to videos, or other volumes, with learned weights.
///
/// - Config: `ConvTranspose3d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `output_padding` (0), `groups` (1), `bias` (true), `dilation` (1)
/// - Input: `[batch, in_channels, depth, height, width]` or `[in_channels, depth, height, width]`;
///   `up(x, (depth', height', width'))` in a forward closure sets the size of the output, PyTorch's `output_size`
/// - Output: `[batch, out_channels, depth', height', width']` with, on each axis,
///   `size' = (size - 1) · stride - 2 · padding + dilation · (kernel_size - 1) + output_padding + 1`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if
///   `output_padding` is at least as large as both `stride` and `dilation`; if the input has the wrong number of
///   channels; or if the output would be empty
///
/// Sizes are one number for all axes, or `(depth, height, width)`. The corresponding function is
/// [`conv_transpose3d`](crate::functional::conv_transpose3d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose3d::config(16, 8, 3).stride(2).padding(1).output_padding((0, 1, 0)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 16, 4, 16, 16), DType::F32, &Device::Cpu)?;
/// assert_eq!(up.call(x.into(), Mode::Eval).dims()?, [2, 8, 7, 32, 31]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConvTranspose3d(ConvTransposeCore);

/// The config of [`ConvTranspose3d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let up = ConvTranspose3d::config(16, 8, 4).stride(2).padding(1).groups(4).init(&Device::Cpu)?;
/// assert_eq!(up.weight().dims(), [16, 2, 4, 4, 4]);
/// assert_eq!(up.forward(Tensor::zeros((1, 16, 3, 10, 9), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 6, 20, 18]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose3dConfig {
    arguments: Arguments,
    settings: TransposeGeometry<3>,
}

/// The settings of [`conv_transpose3d`](crate::functional::conv_transpose3d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 16, 3, 10, 9), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((16, 8, 4, 4, 4), DType::F32, &Device::Cpu)?;
/// let options = ConvTranspose3dOptions::default().stride(2).padding(1);
/// assert_eq!(conv_transpose3d(x, &weight, None, options).dims()?, [1, 8, 6, 20, 18]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose3dOptions {
    pub(crate) settings: TransposeGeometry<3>,
}

impl ConvTranspose3d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Triple>,
    ) -> ConvTranspose3dConfig {
        let arguments = Arguments::new(in_channels, out_channels, kernel_size.into());
        ConvTranspose3dConfig { arguments, settings: TransposeGeometry::default() }
    }
}

setters! { ConvTranspose3dConfig, ConvTranspose3dOptions: {
    /// Sets the step between windows of the output.
    stride(stride: impl Into<Triple>) => stride.into().0;
    /// Sets the number of frames, rows and columns that are removed from each side of the output.
    padding(padding: impl Into<Triple>) => padding.into().0;
    /// Sets the number of frames, rows and columns that are added to the end of the output. It must be smaller than
    /// the stride or the dilation.
    output_padding(padding: impl Into<Triple>) => padding.into().0;
    /// Sets the step between the elements of a window.
    dilation(dilation: impl Into<Triple>) => dilation.into().0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

layer! {
    ConvTranspose3d(ConvTransposeCore, Axes::Three), ConvTranspose3dConfig,
    "`[in_channels, out_channels / groups, depth, height, width]`"
}

output_size! { ConvTranspose3d, Triple => |size| size }
