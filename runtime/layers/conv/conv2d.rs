//! The 2D convolution.

use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::ops::{Padding, Pair, Triple};

use super::conv_core::{ConvCore, Settings};
use super::{Arguments, layer, setters};

/// Convolves images with learned weights.
///
/// - Config: `Conv2d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `dilation` (1), `groups` (1), `bias` (true), `padding_mode` (`"zeros"`)
/// - Input: `[batch, in_channels, height, width]` or `[in_channels, height, width]`
/// - Output: `[batch, out_channels, height', width']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if `padding` is
///   `"same"` and the stride is not 1; or if the input has the wrong number of channels or, after padding, is smaller
///   than the kernel
///
/// Sizes are one number for both axes, or `(height, width)`. A following batch norm (in evaluation mode), residual
/// addition and activation are fused into the convolution. The corresponding function is
/// [`conv2d`](crate::functional::conv2d).
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
#[derive(Clone)]
pub struct Conv2d(ConvCore);

/// The config of [`Conv2d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Conv2d::config(4, 8, 3).padding("same").padding_mode("reflect").bias(false);
/// let conv = config.init(&Device::Cpu)?;
/// assert_eq!(conv.weight().dims(), [8, 4, 3, 3]);
/// assert_eq!(conv.forward(Tensor::zeros((1, 4, 9, 7), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 9, 7]);
/// // 4 channels cannot be divided into 3 groups.
/// assert!(Conv2d::config(4, 6, 3).groups(3).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Conv2dConfig {
    arguments: Arguments,
    settings: Settings,
}

/// The settings of [`conv2d`](crate::functional::conv2d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 4, 32, 32), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((8, 4, 3, 5), DType::F32, &Device::Cpu)?;
/// let options = Conv2dOptions::default().stride(2).padding((1, 2));
/// assert_eq!(conv2d(x, &weight, None, options).dims()?, [1, 8, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv2dOptions {
    pub(crate) settings: Settings,
}

impl Conv2d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dConfig {
        let arguments = Arguments::new(in_channels, out_channels, Triple::of_image(kernel_size.into(), 1));
        Conv2dConfig { arguments, settings: Settings::default() }
    }
}

setters! { Conv2dConfig, Conv2dOptions: {
    /// Sets the step between windows.
    stride(stride: impl Into<Pair>) => Triple::of_image(stride.into(), 1).0;
    /// Sets the padding on both sides: a number, `(height, width)`, `"same"` or `"valid"`.
    padding(padding: impl Into<Padding>) => padding.into().map(|pair| Triple::of_image(pair, 0));
    /// Sets the step between the elements of a window.
    dilation(dilation: impl Into<Pair>) => Triple::of_image(dilation.into(), 1).0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

setters! { Conv2dConfig: {
    /// Sets the padding mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
    padding_mode(mode: impl Into<PadMode>) => mode.into();
}}

layer! { Conv2d(ConvCore, Axes::Two), Conv2dConfig, "`[out_channels, in_channels / groups, height, width]`" }
