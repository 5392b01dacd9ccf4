//! The transposed convolutions of signals and images.

use super::transposed::Transposed;
use super::{Arguments, layer, setters};
use crate::kernels::conv::TransposeGeometry;
use crate::kernels::internal::Axes;
use crate::ops::Pair;

/// The transposed convolution of `[batch, in_channels, length]` to `[batch, out_channels, length']`, with
/// `length' = (length - 1) · stride - 2 · padding + dilation · (kernel_size - 1) + output_padding + 1`.
///
/// `ConvTranspose1d::config(in_channels, out_channels, kernel_size)` with the setters `stride`, `padding`,
/// `output_padding`, `groups`, `bias` and `dilation`, which start as in PyTorch. An input
/// `[channels, length]` stands for a batch of one.
/// [`conv_transpose1d`](crate::functional::conv_transpose1d) is the same as a function.
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
pub struct ConvTranspose1d(Transposed);

/// The transposed convolution of `[batch, in_channels, height, width]` to
/// `[batch, out_channels, height', width']`, with, on each axis,
/// `size' = (size - 1) · stride - 2 · padding + dilation · (kernel_size - 1) + output_padding + 1`.
///
/// `ConvTranspose2d::config(in_channels, out_channels, kernel_size)` with the setters `stride`, `padding`,
/// `output_padding`, `groups`, `bias` and `dilation`, which start as in PyTorch. An input
/// `[channels, height, width]` stands for a batch of one.
/// [`conv_transpose2d`](crate::functional::conv_transpose2d) is the same as a function.
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
pub struct ConvTranspose2d(Transposed);

/// The arguments of a [`ConvTranspose1d`].
#[derive(Clone, Debug)]
pub struct ConvTranspose1dConfig {
    arguments: Arguments,
    settings: TransposeGeometry,
}

/// The arguments of a [`ConvTranspose2d`].
#[derive(Clone, Debug)]
pub struct ConvTranspose2dConfig {
    arguments: Arguments,
    settings: TransposeGeometry,
}

/// The settings of [`conv_transpose1d`](crate::functional::conv_transpose1d), which start as in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose1dOptions {
    pub(crate) settings: TransposeGeometry,
}

/// The settings of [`conv_transpose2d`](crate::functional::conv_transpose2d), which start as in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose2dOptions {
    pub(crate) settings: TransposeGeometry,
}

impl ConvTranspose1d {
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: usize) -> ConvTranspose1dConfig {
        let arguments = Arguments::new(in_channels, out_channels, [1, kernel_size]);
        ConvTranspose1dConfig { arguments, settings: TransposeGeometry::default() }
    }
}

impl ConvTranspose2d {
    pub fn config(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
    ) -> ConvTranspose2dConfig {
        let arguments = Arguments::new(in_channels, out_channels, kernel_size.into().0);
        ConvTranspose2dConfig { arguments, settings: TransposeGeometry::default() }
    }
}

setters! { ConvTranspose1dConfig, ConvTranspose1dOptions: {
    stride(stride: usize) => [1, stride];
    /// What is left out of the output at both ends.
    padding(padding: usize) => [0, padding];
    /// What the output has beyond that at its end; smaller than the stride or the dilation.
    output_padding(padding: usize) => [0, padding];
    dilation(dilation: usize) => [1, dilation];
    /// Input and output channels fall into this many groups that do not mix.
    groups(groups: usize) => groups;
}}

setters! { ConvTranspose2dConfig, ConvTranspose2dOptions: {
    stride(stride: impl Into<Pair>) => stride.into().0;
    /// What is left out of the output at every side.
    padding(padding: impl Into<Pair>) => padding.into().0;
    /// What the output has beyond that at the bottom and the right; smaller than the stride or the dilation.
    output_padding(padding: impl Into<Pair>) => padding.into().0;
    dilation(dilation: impl Into<Pair>) => dilation.into().0;
    /// Input and output channels fall into this many groups that do not mix.
    groups(groups: usize) => groups;
}}

layer! {
    ConvTranspose1d(Transposed, Axes::One), ConvTranspose1dConfig,
    "`[in_channels, out_channels / groups, kernel_size]`"
}

layer! {
    ConvTranspose2d(Transposed, Axes::Two), ConvTranspose2dConfig,
    "`[in_channels, out_channels / groups, height, width]`"
}
