//! The two types that a gradient is computed in, `f32` and `f64`.

use crate::conv::{ConvShape, cpu};
use crate::simd::{self, Isa};
use candle_core::Result;

/// A number that the backward kernels compute with.
pub(super) trait Real: simd::Real {
    /// Whether no number is infinite or NaN.
    fn are_finite(numbers: &[Self], isa: Isa) -> bool;

    /// The forward kernels, if they support this type.
    const CONVOLVE: Option<Convolve<Self>>;
}

/// Convolves an input with a weight.
pub(super) type Convolve<R> = fn(&ConvShape, &[R], &[R], Isa) -> Result<Vec<R>>;

impl Real for f32 {
    fn are_finite(numbers: &[f32], isa: Isa) -> bool {
        simd::is_finite(numbers, isa)
    }

    const CONVOLVE: Option<Convolve<f32>> = Some(cpu::plain);
}

impl Real for f64 {
    fn are_finite(numbers: &[f64], _: Isa) -> bool {
        numbers.iter().all(|number| number.is_finite())
    }

    const CONVOLVE: Option<Convolve<f64>> = None;
}
