//! Interpolation to another size.

use crate::layers::Upsample;
use crate::module::{Forward, Mode};
use crate::signal::Signal;

/// Another size: `interpolate(x, (32, 48))` by nearest neighbours, or with everything an [`Upsample`] can
/// be told, `interpolate(x, Upsample::config().scale_factor(2).mode("bilinear"))`.
pub fn interpolate(x: impl Into<Signal>, target: impl Into<Upsample>) -> Signal {
    target.into().call(x.into(), Mode::Eval)
}
