//! The 1D convolution.

use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::ops::{Padding, Triple};

use super::conv_core::{ConvCore, Settings};
use super::{Arguments, layer, setters};

/// Convolves sequences with learned weights.
///
/// - Config: `Conv1d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `dilation` (1), `groups` (1), `bias` (true), `padding_mode` (`"zeros"`)
/// - Input: `[batch, in_channels, length]` or `[in_channels, length]`
/// - Output: `[batch, out_channels, length']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if `padding` is
///   `"same"` and the stride is not 1; or if the input has the wrong number of channels or, after padding, is smaller
///   than the kernel
///
/// A following batch norm (in evaluation mode), residual addition and activation are fused into the convolution. The
/// corresponding function is [`conv1d`](crate::functional::conv1d).
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
#[derive(Clone)]
pub struct Conv1d(ConvCore);

/// The config of [`Conv1d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv1d::config(4, 8, 5).stride(2).padding(2).groups(2).bias(false).init(&Device::Cpu)?;
/// assert_eq!(conv.weight().dims(), [8, 2, 5]);
/// assert_eq!(conv.forward(Tensor::zeros((1, 4, 32), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 16]);
/// // 4 channels cannot be divided into 3 groups.
/// assert!(Conv1d::config(4, 6, 5).groups(3).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Conv1dConfig {
    arguments: Arguments,
    settings: Settings,
}

/// The settings of [`conv1d`](crate::functional::conv1d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 4, 32), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((8, 4, 5), DType::F32, &Device::Cpu)?;
/// let options = Conv1dOptions::default().stride(2).padding(2);
/// assert_eq!(conv1d(x, &weight, None, options).dims()?, [1, 8, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv1dOptions {
    pub(crate) settings: Settings,
}

impl Conv1d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: usize) -> Conv1dConfig {
        let arguments = Arguments::new(in_channels, out_channels, Triple::of_length(kernel_size, 1));
        Conv1dConfig { arguments, settings: Settings::default() }
    }
}

setters! { Conv1dConfig, Conv1dOptions: {
    /// Sets the step between windows.
    stride(stride: usize) => Triple::of_length(stride, 1).0;
    /// Sets the padding on both sides: a number, `"same"` or `"valid"`.
    padding(padding: impl Into<Padding<usize>>) => padding.into().map(|length| Triple::of_length(length, 0));
    /// Sets the step between the elements of a window.
    dilation(dilation: usize) => Triple::of_length(dilation, 1).0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

setters! { Conv1dConfig: {
    /// Sets the padding mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
    padding_mode(mode: impl Into<PadMode>) => mode.into();
}}

layer! { Conv1d(ConvCore, Axes::One), Conv1dConfig, "`[out_channels, in_channels / groups, kernel_size]`" }
