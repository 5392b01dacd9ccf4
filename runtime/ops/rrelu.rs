//! Leaky ReLU with random slopes.

use candle_core::Tensor;

use crate::kernels::arithmetic::{Binary, binary};
use crate::module::Mode;
use crate::signal::{NeedsNumbers, Recording, Signal};
use crate::{Error, Result, random};

use super::leaky_relu;

/// Multiplies negative elements by a slope. In training, the slope of each element is drawn uniformly between `lower`
/// and `upper`. In evaluation, it is their mean.
///
/// `x` has any shape. The output is a failed signal if a slope is not finite, or if `lower` is not at most `upper`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[-4f32, 4.], &Device::Cpu)?;
/// let y = rrelu(&x, 0.25, 0.75, Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [-2., 4.]);
/// let y = rrelu(&x, 0.25, 0.75, Mode::Train).into_tensor()?.to_vec1::<f32>()?;
/// assert!((-3. ..=-1.).contains(&y[0]) && y[1] == 4.);
/// # Ok(())
/// # }
/// ```
pub fn rrelu(x: impl Into<Signal>, lower: f64, upper: f64, mode: Mode) -> Signal {
    if let Err(error) = check_slopes(lower, upper) {
        return Signal::fail(error.in_layer("rrelu"));
    }
    let x = x.into();
    // A signal without numbers must not advance the random generator.
    if mode == Mode::Eval {
        return leaky_relu(x, lower.midpoint(upper));
    }
    if x.is_meta() {
        return Recording::start(&x).finish(leaky_relu(x, lower.midpoint(upper)), "rrelu");
    }
    x.apply("rrelu", NeedsNumbers, |x| multiply_by_random_slopes(&x, lower, upper))
}

/// Checks that the slopes of [`rrelu`] are finite and in order.
pub(crate) fn check_slopes(lower: f64, upper: f64) -> Result<()> {
    if lower.is_finite() && upper.is_finite() && lower <= upper {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected finite slopes with lower ≤ upper, found lower = {lower} and upper = {upper}"
    )))
}

fn multiply_by_random_slopes(x: &Tensor, lower: f64, upper: f64) -> Result<Tensor> {
    let is_positive = x.detach().gt(0.)?;
    let slopes = random::uniform(x.shape(), lower, upper, x.dtype(), x.device())?;
    let factor = is_positive.where_cond(&slopes.ones_like()?, &slopes)?;
    Ok(binary(Binary::Mul, x, &factor)?)
}
