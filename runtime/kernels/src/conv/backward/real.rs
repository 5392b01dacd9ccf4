//! The types in which gradients are computed: `f32` and `f64`.

use candle_core::Result;

use crate::conv::{ConvShape, cpu};
use crate::gemm::{self, Product};
use crate::simd::{self, Isa};

/// A number type in which the kernels compute gradients.
pub(super) trait Real: simd::Real {
    /// Returns `true` if all numbers are finite.
    fn are_finite(numbers: &[Self], isa: Isa) -> bool;

    /// The forward convolution, or `None` if its kernels do not support this type.
    const CONVOLVE: Option<Convolve<Self>>;

    /// Multiplies several pairs of matrices of the same sizes, or `None` if there are no fast products of this type.
    const MULTIPLY: Option<Multiply<Self>>;
}

/// A function that convolves. Its arguments are the shape, the input, the weight and the instruction set.
pub(super) type Convolve<R> = fn(&ConvShape, &[R], &[R], Isa) -> Result<Vec<R>>;

/// A function that multiplies pairs of matrices. Returns the products, one after another.
pub(super) type Multiply<R> = fn(Isa, &[Product<'_, R>]) -> Vec<R>;

impl Real for f32 {
    fn are_finite(numbers: &[f32], isa: Isa) -> bool {
        simd::is_finite(numbers, isa)
    }

    const CONVOLVE: Option<Convolve<f32>> = Some(cpu::conv2d_f32);

    const MULTIPLY: Option<Multiply<f32>> = Some(gemm::multiply_each);
}

impl Real for f64 {
    fn are_finite(numbers: &[f64], _: Isa) -> bool {
        numbers.iter().all(|number| number.is_finite())
    }

    const CONVOLVE: Option<Convolve<f64>> = None;

    const MULTIPLY: Option<Multiply<f64>> = None;
}
