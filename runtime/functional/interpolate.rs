//! Resizing by interpolation.

use crate::layers::Upsample;
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// Resizes `[batch, channels, length]` or `[batch, channels, height, width]` by interpolation.
///
/// `target` is either a size, which selects nearest-neighbor interpolation, or an [`Upsample`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(interpolate(&x, (32, 48)).dims()?, [1, 3, 32, 48]);
/// let double = Upsample::config().scale_factor(2).mode("bilinear");
/// assert_eq!(interpolate(&x, double).dims()?, [1, 3, 16, 16]);
/// # Ok(())
/// # }
/// ```
pub fn interpolate(x: impl Into<Signal>, target: impl Into<Upsample>) -> Signal {
    target.into().call(x.into(), Mode::Eval)
}
