//! The convolution of images.

use super::plain::{Plain, Settings};
use super::{Arguments, layer, setters};
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::ops::{Padding, Pair};

/// Convolves `[batch, in_channels, height, width]` to `[batch, out_channels, height', width']`.
///
/// `Conv2d::config(in_channels, out_channels, kernel_size)` with the setters `stride`, `padding`,
/// `dilation`, `groups`, `bias` and `padding_mode`, which start as in PyTorch. An input
/// `[channels, height, width]` stands for a batch of one. The bias, a batch norm in evaluation, a residual
/// and an activation that follow run inside the same kernel. [`conv2d`](crate::functional::conv2d) is the
/// same as a function.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 16, (3, 5)).stride(2).padding((1, 2)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// let y = conv.call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [8, 16, 16, 16]);
/// # Ok(())
/// # }
/// ```
pub struct Conv2d(Plain);

/// The arguments of a [`Conv2d`].
#[derive(Clone, Debug)]
pub struct Conv2dConfig {
    arguments: Arguments,
    settings: Settings,
}

/// The settings of [`conv2d`](crate::functional::conv2d), which start as in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv2dOptions {
    pub(crate) settings: Settings,
}

impl Conv2d {
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dConfig {
        let arguments = Arguments::new(in_channels, out_channels, kernel_size.into().0);
        Conv2dConfig { arguments, settings: Settings::default() }
    }
}

setters! { Conv2dConfig, Conv2dOptions: {
    stride(stride: impl Into<Pair>) => stride.into().0;
    /// Around the input: a number, `(rows, columns)`, `"same"` or `"valid"`.
    padding(padding: impl Into<Padding>) => padding.into();
    dilation(dilation: impl Into<Pair>) => dilation.into().0;
    /// Input and output channels fall into this many groups that do not mix.
    groups(groups: usize) => groups;
}}

setters! { Conv2dConfig: {
    /// What the padding holds: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
    padding_mode(mode: impl Into<PadMode>) => mode.into();
}}

layer! { Conv2d(Plain, Axes::Two), Conv2dConfig, "`[out_channels, in_channels / groups, height, width]`" }
