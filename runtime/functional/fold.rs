//! Windows of images as columns, and the sum of columns.

use crate::layers::{Fold, Unfold};
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// Returns the windows of images `[batch, channels, height, width]` as columns,
/// `[batch, channels · kernel_height · kernel_width, windows]`.
///
/// `window` is a kernel size or an [`Unfold`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 3, 10, 12), DType::F32, &Device::Cpu)?;
/// assert_eq!(unfold(&x, 2).dims()?, [8, 12, 99]);
/// assert_eq!(unfold(&x, Unfold::config(3).stride(2).padding(1)).dims()?, [8, 27, 30]);
/// # Ok(())
/// # }
/// ```
pub fn unfold(x: impl Into<Signal>, window: impl Into<Unfold>) -> Signal {
    window.into().call(x.into(), Mode::Eval)
}

/// Adds columns `[batch, channels · kernel_height · kernel_width, windows]` to the windows of images
/// `[batch, channels, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((8, 3, 10, 12), DType::F32, &Device::Cpu)?;
/// let columns = unfold(&x, 2);
/// assert_eq!(fold(columns, Fold::config((10, 12), 2)).dims()?, [8, 3, 10, 12]);
/// # Ok(())
/// # }
/// ```
pub fn fold(x: impl Into<Signal>, windows: Fold) -> Signal {
    windows.call(x.into(), Mode::Eval)
}
