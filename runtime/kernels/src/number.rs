//! The number types of the activation formulas: `f32`, `f64`, and vectors of `f32`.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::simd::math::SinglePrecision;

/// A number, or a vector of numbers. Operations on a vector apply to each lane.
///
/// If `self` is NaN, the result is NaN, except for [`splat`](Self::splat), [`where_less`](Self::where_less) and
/// [`where_at_most`](Self::where_at_most).
///
/// # Examples
/// ```
/// use sconce_kernels::number::Number;
///
/// /// A hard sigmoid for numbers and vectors.
/// fn hard_sigmoid<N: Number>(x: N) -> N {
///     (x / x.splat(6.) + x.splat(0.5)).at_least(x.splat(0.)).at_most(x.splat(1.))
/// }
///
/// assert_eq!([-4f64, 0., 3.].map(hard_sigmoid), [0., 0.5, 1.]);
/// assert!(hard_sigmoid(f64::NAN).is_nan());
/// ```
pub trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// Returns the constant `x` in every lane. The value of `self` is not used.
    fn splat(self, x: f64) -> Self;

    /// Returns the magnitude.
    fn abs(self) -> Self;

    /// Returns the larger of `self` and `bound`; NaN if `self` is NaN.
    fn at_least(self, bound: Self) -> Self;

    /// Returns the smaller of `self` and `bound`; NaN if `self` is NaN.
    fn at_most(self, bound: Self) -> Self;

    /// Returns `then` if `self < bound`, and `otherwise` if not. For NaN, returns `otherwise`.
    fn where_less(self, bound: Self, then: Self, otherwise: Self) -> Self;

    /// Returns `then` if `self ≤ bound`, and `otherwise` if not. For NaN, returns `otherwise`.
    fn where_at_most(self, bound: Self, then: Self, otherwise: Self) -> Self;

    /// Returns `e^x`.
    fn exp(self) -> Self;

    /// Returns `e^x - 1`, accurate near zero too.
    fn exp_m1(self) -> Self;

    /// Returns `ln(1 + e^x)`.
    fn ln_1p_exp(self) -> Self;

    /// Returns the hyperbolic tangent.
    fn tanh(self) -> Self;

    /// Returns the distribution function and the density of the standard normal distribution at this number.
    fn normal(self) -> Normal<Self>;

    /// Returns `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self;
}

/// The CDF and the PDF of the standard normal distribution at a point.
#[derive(Clone, Copy, Debug)]
pub struct Normal<N> {
    /// Φ, the distribution function: `(1 + erf(x / √2)) / 2`. The relative error is small in the left tail too, where
    /// this formula would suffer from cancellation.
    pub cdf: N,
    /// The density, the derivative of Φ.
    pub pdf: N,
}

/// Implements the operations of [`Number`] that are the same for `f32` and `f64`.
macro_rules! scalar {
    () => {
        #[inline(always)]
        fn splat(self, x: f64) -> Self {
            x as Self
        }
        #[inline(always)]
        fn abs(self) -> Self {
            self.abs()
        }
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            if self < bound { bound } else { self }
        }
        #[inline(always)]
        fn at_most(self, bound: Self) -> Self {
            if self > bound { bound } else { self }
        }
        #[inline(always)]
        fn where_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
            if self < bound { then } else { otherwise }
        }
        #[inline(always)]
        fn where_at_most(self, bound: Self, then: Self, otherwise: Self) -> Self {
            if self <= bound { then } else { otherwise }
        }
    };
}

impl Number for f64 {
    scalar!();

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    #[inline(always)]
    fn ln_1p_exp(self) -> Self {
        Number::at_least(self, 0.) + f64::ln_1p(f64::exp(-f64::abs(self)))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn normal(self) -> Normal<Self> {
        const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
        Normal {
            cdf: 0.5 * candle_core::cpu::erf::erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2),
            pdf: f64::exp(-0.5 * self * self) * INV_SQRT_2PI,
        }
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        // A formula in e^-|x| neither overflows nor loses precision in the left tail.
        let power = f64::exp(-f64::abs(self));
        (if self < 0. { power } else { 1. }) / (1. + power)
    }
}

/// Implements the functions of [`Number`] with the functions of [`crate::simd::math`].
macro_rules! single_precision_functions {
    () => {
        #[inline(always)]
        fn exp(self) -> Self {
            $crate::simd::math::exp(self)
        }
        #[inline(always)]
        fn exp_m1(self) -> Self {
            $crate::simd::math::exp_m1(self)
        }
        #[inline(always)]
        fn ln_1p_exp(self) -> Self {
            $crate::simd::math::ln_1p_exp(self)
        }
        #[inline(always)]
        fn tanh(self) -> Self {
            $crate::simd::math::tanh(self)
        }
        #[inline(always)]
        fn normal(self) -> $crate::number::Normal<Self> {
            $crate::simd::math::normal(self)
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            $crate::simd::math::sigmoid(self)
        }
    };
}
pub(crate) use single_precision_functions;

impl Number for f32 {
    scalar!();
    single_precision_functions!();
}

// Uses neither fused operations nor branches, so that the compiler vectorizes loops for every instruction set with
// bit-identical results.
impl SinglePrecision for f32 {
    const FUSED: bool = false;

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        self * factor + summand
    }
    #[inline(always)]
    fn round(self) -> Self {
        // 1.5 · 2²³. `self + SHIFT` is so large that it has no fractional bits.
        const SHIFT: f32 = 12_582_912.;
        self + SHIFT - SHIFT
    }
    #[inline(always)]
    fn ldexp(self, exponent: Self) -> Self {
        let [first, second] = powers(exponent);
        self * first * second
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        f32::copysign(self, sign)
    }
}

/// Returns two powers of two with the product `2^exponent`. The product may be outside the range of `f32`.
#[inline(always)]
pub(crate) fn powers(exponent: f32) -> [f32; 2] {
    // 1.5 · 2²³. The low bits of `exponent + SHIFT` hold the exponent as an integer.
    const SHIFT: f32 = 12_582_912.;
    let exponent = ((exponent + SHIFT).to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    let power_of_two = |exponent: i32| f32::from_bits((exponent.wrapping_add(127) << 23) as u32);
    let first = exponent >> 1;
    [power_of_two(first), power_of_two(exponent.wrapping_sub(first))]
}
