//! The 3D convolution.

use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;
use crate::ops::{Padding, Triple};

use super::conv_core::{ConvCore, Settings};
use super::{Arguments, layer, setters};

/// Convolves videos, or other volumes, with learned weights.
///
/// - Config: `Conv3d::config(in_channels, out_channels, kernel_size)`; setters `stride` (1), `padding` (0),
///   `dilation` (1), `groups` (1), `bias` (true), `padding_mode` (`"zeros"`)
/// - Input: `[batch, in_channels, depth, height, width]` or `[in_channels, depth, height, width]`
/// - Output: `[batch, out_channels, depth', height', width']`
/// - Fails if `kernel_size`, `stride` or `dilation` is 0; if `groups` does not divide the channels; if `padding` is
///   `"same"` and the stride is not 1; or if the input has the wrong number of channels or, after padding, is smaller
///   than the kernel
///
/// Sizes are one number for all axes, or `(depth, height, width)`. A following batch norm (in evaluation mode),
/// residual addition and activation are fused into the convolution. The corresponding function is
/// [`conv3d`](crate::functional::conv3d).
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv3d::config(3, 16, 3).stride((1, 2, 2)).padding(1).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 3, 4, 32, 32), DType::F32, &Device::Cpu)?;
/// let y = conv.call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [2, 16, 4, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Conv3d(ConvCore);

/// The config of [`Conv3d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Conv3d::config(4, 8, 3).padding("same").padding_mode("reflect").bias(false);
/// let conv = config.init(&Device::Cpu)?;
/// assert_eq!(conv.weight().dims(), [8, 4, 3, 3, 3]);
/// assert_eq!(conv.forward(Tensor::zeros((1, 4, 5, 9, 7), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 5, 9, 7]);
/// // 4 channels cannot be divided into 3 groups.
/// assert!(Conv3d::config(4, 6, 3).groups(3).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Conv3dConfig {
    arguments: Arguments,
    settings: Settings,
}

/// The settings of [`conv3d`](crate::functional::conv3d), with PyTorch's defaults.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 4, 8, 32, 32), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::zeros((8, 4, 1, 3, 5), DType::F32, &Device::Cpu)?;
/// let options = Conv3dOptions::default().stride((1, 2, 2)).padding((0, 1, 2));
/// assert_eq!(conv3d(x, &weight, None, options).dims()?, [1, 8, 8, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv3dOptions {
    pub(crate) settings: Settings,
}

impl Conv3d {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: impl Into<Triple>) -> Conv3dConfig {
        let arguments = Arguments::new(in_channels, out_channels, kernel_size.into());
        Conv3dConfig { arguments, settings: Settings::default() }
    }
}

setters! { Conv3dConfig, Conv3dOptions: {
    /// Sets the step between windows.
    stride(stride: impl Into<Triple>) => stride.into().0;
    /// Sets the padding on both sides: a number, `(depth, height, width)`, `"same"` or `"valid"`.
    padding(padding: impl Into<Padding<Triple>>) => padding.into();
    /// Sets the step between the elements of a window.
    dilation(dilation: impl Into<Triple>) => dilation.into().0;
    /// Sets the number of groups into which the channels are divided. Each group is convolved separately.
    groups(groups: usize) => groups;
}}

setters! { Conv3dConfig: {
    /// Sets the padding mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
    padding_mode(mode: impl Into<PadMode>) => mode.into();
}}

layer! { Conv3d(ConvCore, Axes::Three), Conv3dConfig, "`[out_channels, in_channels / groups, depth, height, width]`" }
