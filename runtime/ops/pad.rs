//! Padding.

use super::Sides;
use crate::kernels::pad::{self, PadMode};
use crate::signal::Signal;

/// Pads the last two dimensions, `[…, height, width]`, by `(left, right, top, bottom)`, or the last alone
/// by `(left, right)`. The mode is `"constant"` (zeros), `"reflect"`, `"replicate"` or `"circular"`, or
/// [`PadMode::Constant`] with a number. A negative number takes elements away.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2., 3.]], &Device::Cpu)?;
/// let y = pad(x, (2, 1), "reflect").into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3., 2., 1., 2., 3., 2.]]);
/// # Ok(())
/// # }
/// ```
pub fn pad(x: impl Into<Signal>, padding: impl Into<Sides>, mode: impl Into<PadMode>) -> Signal {
    let Sides(sides) = padding.into();
    let mode = mode.into();
    x.into().apply("pad", |x| pad::pad(&x, sides, mode))
}
