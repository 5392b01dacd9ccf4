//! Padding.

use crate::graph::Op;
use crate::kernels::pad::{self, PadMode};
use crate::signal::{LeadingOf, Signal};

use super::Sides;

/// Pads the last two dimensions, `[…, height, width]`, by `(left, right, top, bottom)`, or only the last one by
/// `(left, right)`. Negative padding removes elements. `mode` is `"constant"` (zeros), `"reflect"`, `"replicate"`,
/// `"circular"`, or [`PadMode::Constant`] with a value.
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
    x.into().apply(("pad", Op::Pad { sides, mode }), LeadingOf(2), |x| pad::pad(&x, sides, mode))
}
