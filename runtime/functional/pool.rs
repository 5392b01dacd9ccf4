//! Max and average pooling.

use crate::layers::{AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d};
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// Returns the maximum of each window of a sequence, `[batch, channels, length]`.
///
/// `window` is a kernel size or a [`MaxPool1d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 4, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(max_pool1d(&x, 2).dims()?, [8, 4, 16]);
/// assert_eq!(max_pool1d(&x, MaxPool1d::config(3).stride(1).padding(1)).dims()?, [8, 4, 32]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool1d(x: impl Into<Signal>, window: impl Into<MaxPool1d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Returns the maximum of each window of an image, `[batch, channels, height, width]`.
///
/// `window` is a kernel size or a [`MaxPool2d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 4, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(max_pool2d(&x, 2).dims()?, [8, 4, 16, 16]);
/// assert_eq!(max_pool2d(&x, MaxPool2d::config(3).stride(1).padding(1)).dims()?, [8, 4, 32, 32]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool2d(x: impl Into<Signal>, window: impl Into<MaxPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Returns the maximum of each window of a video, `[batch, channels, depth, height, width]`.
///
/// `window` is a kernel size or a [`MaxPool3d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((2, 4, 8, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(max_pool3d(&x, 2).dims()?, [2, 4, 4, 16, 16]);
/// assert_eq!(max_pool3d(&x, MaxPool3d::config(3).stride(1).padding(1)).dims()?, [2, 4, 8, 32, 32]);
/// # Ok(())
/// # }
/// ```
pub fn max_pool3d(x: impl Into<Signal>, window: impl Into<MaxPool3d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Returns the average of each window of a sequence, `[batch, channels, length]`.
///
/// `window` is a kernel size or an [`AvgPool1d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 4, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(avg_pool1d(&x, 2).dims()?, [8, 4, 16]);
/// assert_eq!(avg_pool1d(&x, AvgPool1d::config(3).stride(1).padding(1)).dims()?, [8, 4, 32]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool1d(x: impl Into<Signal>, window: impl Into<AvgPool1d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Returns the average of each window of an image, `[batch, channels, height, width]`.
///
/// `window` is a kernel size or an [`AvgPool2d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 4, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(avg_pool2d(&x, 2).dims()?, [8, 4, 16, 16]);
/// assert_eq!(avg_pool2d(&x, AvgPool2d::config(3).stride(1).padding(1)).dims()?, [8, 4, 32, 32]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool2d(x: impl Into<Signal>, window: impl Into<AvgPool2d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Returns the average of each window of a video, `[batch, channels, depth, height, width]`.
///
/// `window` is a kernel size or an [`AvgPool3d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((2, 4, 8, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(avg_pool3d(&x, 2).dims()?, [2, 4, 4, 16, 16]);
/// assert_eq!(avg_pool3d(&x, AvgPool3d::config(3).stride(1).padding(1)).dims()?, [2, 4, 8, 32, 32]);
/// # Ok(())
/// # }
/// ```
pub fn avg_pool3d(x: impl Into<Signal>, window: impl Into<AvgPool3d>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}
