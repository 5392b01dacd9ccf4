//! The numbers that kernels compute in, `f32` and `f64`, and the functions activations are made of.
//!
//! The `f32` versions are branch-free sums and products, so that a loop over them becomes vector code
//! under every instruction set; none uses a fused multiply-add, so all sets agree to the last bit.

use candle_core::WithDType;
use std::ops::Neg;

/// A number that kernels compute in.
pub trait Float: WithDType + Neg<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;

    fn exp(self) -> Self;
    /// `e^x - 1`, exact to the last digits near zero as well.
    fn exp_m1(self) -> Self;
    fn ln(self) -> Self;
    /// `ln(1 + x)`, exact to the last digits near zero as well.
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// Φ, the standard normal distribution function, `(1 + erf(x / √2)) / 2`, with a small *relative*
    /// error in the left tail too, where the formula with `erf` cancels.
    fn normal_cdf(self) -> Self;

    /// The standard normal density, Φ's slope.
    #[inline(always)]
    fn normal_pdf(self) -> Self {
        const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
        (self * self * Self::from_f64(-0.5)).exp() * Self::from_f64(INV_SQRT_2PI)
    }

    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }

    /// The larger of `self` and `bound`; NaN where `self` is NaN.
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        if self < bound { bound } else { self }
    }

    /// The smaller of `self` and `bound`; NaN where `self` is NaN.
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        if self > bound { bound } else { self }
    }

    #[inline(always)]
    #[allow(clippy::eq_op)] // Only NaN differs from itself.
    fn is_nan(self) -> bool {
        self != self
    }
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        0.5 * candle_core::cpu::erf::erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
}

impl Float for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;

    #[inline(always)]
    fn exp(self) -> Self {
        let Reduced { excess, half, rest } = reduce(self);
        (1.0 + excess) * half * rest
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        let Reduced { excess, half, rest } = reduce(self);
        let scale = half * rest;
        // Beyond 80 the one that is subtracted is lost in rounding, and `scale` may overflow too early.
        if self > 80.0 { (1.0 + excess) * half * rest } else { scale * excess + (scale - 1.0) }
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        // (e^2x - 1) / (e^2x + 1) on the positive side, 1 from 20 on.
        let e = Float::exp_m1((2.0 * f32::abs(self)).at_most(40.0));
        (e / (e + 2.0)).copysign(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        // erfc(t) / 2 = e^(-t²) s Q(2s - 1) with s = 2 / (2 + t): a polynomial Q fitted to 4e-9.
        let t = f32::abs(self) * std::f32::consts::FRAC_1_SQRT_2;
        let s = 2.0 / (2.0 + t);
        let tail = s * horner(2.0 * s - 1.0, HALF_ERFCX) * Float::exp(self * self * -0.5);
        if self > 0.0 { 1.0 - tail } else { tail }
    }
}

/// Chebyshev fit of `erfc(t) e^(t²) / 2s`, `s = 2 / (2 + t)`, in the variable `2s - 1` of `[-1, 1]`.
const HALF_ERFCX: [f32; 11] = [
    0.255_395_68,
    0.171_790_16,
    0.069_867_97,
    0.009_110_874_6,
    -0.005_376_655_4,
    -0.001_621_866_5,
    7.669_235e-4,
    2.155_2e-4,
    -1.523_595_4e-4,
    -1.838_218e-5,
    2.214_420_7e-5,
];

/// Chebyshev fit of `(e^r - 1 - r) / r²` on `|r| ≤ ln 2 / 2`, to 1.4e-9.
const EXP_TAIL: [f32; 6] = [0.5, 0.166_666_67, 0.041_666_463, 0.008_333_311, 0.001_393_375_1, 1.989_110_3e-4];

/// `e^x = (1 + excess) · half · rest`, the last two powers of two whose product may leave `f32`'s range.
struct Reduced {
    excess: f32,
    half: f32,
    rest: f32,
}

#[inline(always)]
fn reduce(x: f32) -> Reduced {
    // Adding 1.5 · 2²³ rounds to an integer, which then stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let x = x.at_most(90.0).at_least(-105.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let nf = rounded - ROUND;
    let r = (x - nf * LN_2_HIGH) - nf * LN_2_LOW;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    let half = n >> 1;
    Reduced { excess: r + r * r * horner(r, EXP_TAIL), half: power(half), rest: power(n.wrapping_sub(half)) }
}

#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for c in coefficients[..N - 1].iter().rev() {
        sum = sum * x + c;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of `f` against `exact` over `[from, to]`.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let n = 400_000;
        let at = |i: i32| from + (to - from) * (i as f32 / n as f32);
        let error = |x: f32| {
            let want = exact(x as f64);
            (f(x) as f64 - want).abs() / want.abs().max(f32::MIN_POSITIVE as f64)
        };
        (0..=n).map(|i| error(at(i))).fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_functions_are_accurate() {
        assert!(worst(Float::exp, f64::exp, -87.0, 88.7) < 2e-7);
        assert!(worst(Float::exp_m1, f64::exp_m1, -20.0, 88.0) < 3e-7);
        assert!(worst(Float::exp_m1, f64::exp_m1, -1e-3, 1e-3) < 3e-7);
        assert!(worst(Float::tanh, f64::tanh, -12.0, 12.0) < 4e-7);
        assert!(worst(Float::tanh, f64::tanh, -1e-3, 1e-3) < 4e-7);
        assert!(worst(Float::sigmoid, Float::sigmoid, -80.0, 80.0) < 4e-7);
        assert!(worst(Float::normal_cdf, Float::normal_cdf, -4.0, 12.0) < 1e-6);
        assert!(worst(Float::normal_cdf, Float::normal_cdf, -12.0, -4.0) < 1e-5);
    }

    #[test]
    fn single_precision_functions_end_as_the_exact_ones() {
        let inf = f32::INFINITY;
        assert_eq!((Float::exp(inf), Float::exp(-inf), Float::exp(0.0f32)), (inf, 0.0, 1.0));
        assert_eq!((Float::exp_m1(inf), Float::exp_m1(-inf), Float::exp_m1(0.0f32)), (inf, -1.0, 0.0));
        assert_eq!((Float::tanh(inf), Float::tanh(-inf), Float::tanh(0.0f32)), (1.0, -1.0, 0.0));
        assert_eq!((inf.sigmoid(), (-inf).sigmoid(), 0f32.sigmoid()), (1.0, 0.0, 0.5));
        assert_eq!((inf.normal_cdf(), (-inf).normal_cdf()), (1.0, 0.0));
        for f in [Float::exp, Float::exp_m1, Float::tanh, Float::sigmoid, Float::normal_cdf] {
            assert!(f32::is_nan(f(f32::NAN)));
        }
    }
}
