//! The convolution of signals.

use super::plain::{Plain, Settings};
use super::{Arguments, layer, setters};
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::ops::{Padding, Pair};

/// Convolves `[batch, in_channels, length]` to `[batch, out_channels, length']`.
///
/// `Conv1d::config(in_channels, out_channels, kernel_size)` with the setters `stride`, `padding`,
/// `dilation`, `groups`, `bias` and `padding_mode`, which start as in PyTorch. An input
/// `[channels, length]` stands for a batch of one. The bias, a batch norm in evaluation, a residual and an
/// activation that follow run inside the same kernel. [`conv1d`](crate::functional::conv1d) is the same as
/// a function.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv1d::config(3, 16, 5).stride(2).padding(2).padding_mode("reflect").init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 3, 32), DType::F32, &Device::Cpu)?;
/// let y = conv.call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [8, 16, 16]);
/// # Ok(())
/// # }
/// ```
pub struct Conv1d(Plain);

/// The arguments of a [`Conv1d`].
#[derive(Clone, Debug)]
pub struct Conv1dConfig {
    arguments: Arguments,
    settings: Settings,
}

/// The settings of [`conv1d`](crate::functional::conv1d), which start as in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv1dOptions {
    pub(crate) settings: Settings,
}

impl Conv1d {
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: usize) -> Conv1dConfig {
        let arguments = Arguments::new(in_channels, out_channels, [1, kernel_size]);
        Conv1dConfig { arguments, settings: Settings::default() }
    }
}

setters! { Conv1dConfig, Conv1dOptions: {
    stride(stride: usize) => [1, stride];
    /// Around the input: a number, `"same"` or `"valid"`.
    padding(padding: impl Into<Padding<usize>>) => padding.into().map(|length| Pair([0, length]));
    dilation(dilation: usize) => [1, dilation];
    /// Input and output channels fall into this many groups that do not mix.
    groups(groups: usize) => groups;
}}

setters! { Conv1dConfig: {
    /// What the padding holds: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
    padding_mode(mode: impl Into<PadMode>) => mode.into();
}}

layer! { Conv1d(Plain, Axes::One), Conv1dConfig, "`[out_channels, in_channels / groups, kernel_size]`" }
