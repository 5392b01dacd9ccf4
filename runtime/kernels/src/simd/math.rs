//! Exponential functions of single-precision numbers and vectors of them.
//!
//! Each function is generic over [`Single`] and has no branches. Each works for scalars, so that the compiler can
//! vectorize a loop over them, and for the vectors of every instruction set. `exp`, `tanh` and `ln_1p_exp` are within 2
//! units in the last place of the exact result for every input, denormal results included.

use std::f32::consts::LOG2_E;

use crate::number::Number;

/// A single-precision number, or a vector of them.
pub trait Single: Number {
    /// `true` if [`mul_add`](Self::mul_add) rounds once.
    const FUSED: bool;

    /// Returns `self · factor + summand`.
    fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// Rounds to the nearest integer, ties to even. Requires `|self| < 2²²`.
    fn round(self) -> Self;

    /// Returns `self · 2^exponent`, rounded once. Requires an integer exponent in `[-252, 254]`.
    fn ldexp(self, exponent: Self) -> Self;

    /// Returns the absolute value of `self` with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
}

/// The decomposition `e^x = (1 + excess) · 2^exponent`, with an excess in `[√½ - 1, √2 - 1]`.
struct Exponential<N> {
    excess: N,
    exponent: N,
}

impl<N: Single> Exponential<N> {
    /// Decomposes `e^(x + low)` for a `low` much smaller than 1. `x` is clamped to a range outside of which the result
    /// overflows, or underflows to zero.
    #[inline(always)]
    fn of_sum(x: N, low: N) -> Self {
        Self::reduced(x, |r| r + low)
    }

    #[inline(always)]
    fn of(x: N) -> Self {
        Self::reduced(x, |r| r)
    }

    #[inline(always)]
    fn reduced(x: N, correct: impl FnOnce(N) -> N) -> Self {
        // ln 2 in two parts. The first has few enough bits that its product with the exponent is exact.
        const LN_2_HIGH: f64 = 0.693_145_751_953_125;
        const LN_2_LOW: f64 = 1.428_606_820_309_417_3e-6;
        /// Minimax polynomial of `(e^r - 1 - r) / r²` for `|r| ≤ ln 2 / 2`: relative error 2.7e-9.
        const REMAINDER: [f64; 6] = [
            0.500_000_001_342,
            0.166_666_665_319,
            0.041_666_465_120_6,
            0.008_333_360_786_59,
            0.001_393_364_291_8,
            0.000_198_578_045_967,
        ];
        let x = x.at_most(x.splat(90.)).at_least(x.splat(-105.));
        let exponent = (x * x.splat(f64::from(LOG2_E))).round();
        let r = exponent.mul_add(x.splat(-LN_2_HIGH), x);
        let r = correct(exponent.mul_add(x.splat(-LN_2_LOW), r));
        Self { excess: (r * r).mul_add(polynomial(r, REMAINDER), r), exponent }
    }
}

/// Returns `e^x`.
#[inline(always)]
pub fn exp<N: Single>(x: N) -> N {
    let Exponential { excess, exponent } = Exponential::of(x);
    (x.splat(1.) + excess).ldexp(exponent)
}

/// Returns `e^x - 1`, accurate near zero too.
#[inline(always)]
pub fn exp_m1<N: Single>(x: N) -> N {
    let Exponential { excess, exponent } = Exponential::of(x);
    let power = x.splat(1.).ldexp(exponent);
    let difference = power.mul_add(excess, power - x.splat(1.));
    // From 80 on, subtracting 1 has no effect, and the power may overflow before the result does.
    x.where_less(x.splat(80.), difference, (x.splat(1.) + excess).ldexp(exponent))
}

/// Returns the hyperbolic tangent.
#[inline(always)]
pub fn tanh<N: Single>(x: N) -> N {
    /// Minimax polynomial of `(tanh(x) / x - 1) / x²` in `x²` for `|x| ≤ 0.55`: relative error 4.0e-8.
    const REMAINDER: [f64; 5] = [
        -0.333_333_320_09,
        0.133_331_138_353,
        -0.053_909_446_242_6,
        0.021_309_480_264_5,
        -0.006_610_378_635_29,
    ];
    let magnitude = x.abs();
    let square = x * x;
    let near = (magnitude * square).mul_add(polynomial(square, REMAINDER), magnitude);
    let far = x.splat(1.) - x.splat(2.) / (exp(magnitude + magnitude) + x.splat(1.));
    magnitude.where_less(x.splat(0.55), near, far).copysign(x)
}

/// Returns `ln(1 + e^x)`.
#[inline(always)]
pub fn ln_1p_exp<N: Single>(x: N) -> N {
    /// Minimax polynomial of `(ln(1 + y) - y) / y²` for `0 ≤ y ≤ 1`: the relative error of the logarithm is 7.4e-10.
    const REMAINDER: [f64; 10] = [
        -0.499_999_814_348,
        0.333_325_596_541,
        -0.249_872_711_271,
        0.198_907_488_175,
        -0.161_056_939_106,
        0.124_184_385_008,
        -0.082_441_753_994_3,
        0.041_478_206_600_6,
        -0.013_407_512_255_1,
        0.002_030_236_468_41,
    ];
    // max(x, 0) + ln(1 + e^-|x|): no overflow, and no loss of digits for negative x.
    let y = exp(-x.abs());
    (y * y).mul_add(polynomial(y, REMAINDER), y) + x.at_least(x.splat(0.))
}

/// Returns Φ(x), the standard normal distribution function: `(1 + erf(x / √2)) / 2`, with a small relative error in the
/// left tail too, where that formula suffers from cancellation.
#[inline(always)]
pub fn normal_cdf<N: Single>(x: N) -> N {
    /// Minimax polynomial of `(Φ(x) - ½) / x` in `x²` for `|x| ≤ 1`: relative error 7.1e-10.
    const CENTER: [f64; 6] = [
        0.398_942_280_118,
        -0.066_490_359_925_1,
        0.009_973_323_422_19,
        -0.001_186_329_974_83,
        1.134_864_076_5e-4,
        -7.654_221_887_76e-6,
    ];
    /// Minimax polynomial of `(1 - Φ(t)) e^(t²/2) / w` in `w = 1 / (t + 1)` for `1 ≤ t ≤ 15`: relative error 3.3e-8.
    const TAIL: [f64; 9] = [
        0.398_928_362_897,
        0.399_742_042_422,
        -0.019_249_383_517,
        -0.543_577_511_648,
        -2.817_071_282_97,
        12.155_469_276_4,
        -20.058_821_523_5,
        16.456_843_453_5,
        -5.587_126_041_13,
    ];
    let half = x.splat(0.5);
    let center = x.mul_add(polynomial(x * x, CENTER), half);
    let t = x.abs().at_most(x.splat(16.));
    let square = t * t;
    let Exponential { excess, exponent } =
        Exponential::of_sum(square * -half, square_error(t, square) * -half);
    let w = x.splat(1.) / (t + x.splat(1.));
    let quotient = w * polynomial(w, TAIL);
    let tail = quotient.mul_add(excess, quotient).ldexp(exponent);
    t.where_less(x.splat(1.), center, x.where_less(x.splat(0.), tail, x.splat(1.) - tail))
}

/// Returns the rounding error `x² - square`, where `square` is the rounded square of `x`.
#[inline(always)]
fn square_error<N: Single>(x: N, square: N) -> N {
    if N::FUSED {
        return x.mul_add(x, -square);
    }
    // Dekker's product: the square of the upper half of the digits is exact.
    let scaled = x * x.splat(4097.);
    let high = scaled - (scaled - x);
    let low = x - high;
    ((high * high - square) + (high + high) * low) + low * low
}

/// Evaluates a polynomial by Horner's rule. The constant coefficient comes first.
#[inline(always)]
fn polynomial<N: Single, const COUNT: usize>(x: N, coefficients: [f64; COUNT]) -> N {
    let mut sum = x.splat(coefficients[COUNT - 1]);
    for coefficient in coefficients[..COUNT - 1].iter().rev() {
        sum = sum.mul_add(x, x.splat(*coefficient));
    }
    sum
}

#[cfg(test)]
mod tests {
    use candle_core::cpu::erf::erfc_f64;

    use crate::simd::{Isa, Kernel, Simd, Vector, available, dispatch_to};

    use super::*;

    const POINTS: i32 = 1_000_000;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Function {
        Exp,
        ExpM1,
        Tanh,
        Ln1pExp,
        NormalCdf,
    }
    use Function::*;

    const FUNCTIONS: [Function; 5] = [Exp, ExpM1, Tanh, Ln1pExp, NormalCdf];

    impl Function {
        fn of<N: Single>(self, x: N) -> N {
            match self {
                Exp => exp(x),
                ExpM1 => exp_m1(x),
                Tanh => tanh(x),
                Ln1pExp => ln_1p_exp(x),
                NormalCdf => normal_cdf(x),
            }
        }

        fn exact(self, x: f64) -> f64 {
            match self {
                Exp => x.exp(),
                ExpM1 => x.exp_m1(),
                Tanh => x.tanh(),
                Ln1pExp => x.max(0.) + (-x.abs()).exp().ln_1p(),
                NormalCdf => 0.5 * erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2),
            }
        }
    }

    struct Evaluate<'a>(Function, &'a [f32]);

    impl Kernel for Evaluate<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut y = vec![0.; self.1.len()];
            for (y, x) in y.chunks_mut(S::LANES).zip(self.1.chunks(S::LANES)) {
                // SAFETY: both chunks have `x.len()` elements.
                unsafe {
                    let x = Vector::new(simd, simd.load_partial(x.as_ptr(), x.len()));
                    simd.store_partial(y.as_mut_ptr(), y.len(), self.0.of(x).lanes);
                }
            }
            y
        }
    }

    /// Returns the function's values for scalars and for each instruction set, including emulated NEON.
    fn everywhere(function: Function, x: &[f32]) -> Vec<(String, Vec<f32>)> {
        let mut sets = available();
        sets.push(Isa::Neon);
        let mut values = vec![("scalar".into(), x.iter().map(|x| function.of(*x)).collect())];
        values.extend(sets.iter().map(|isa| (format!("{isa:?}"), dispatch_to(*isa, Evaluate(function, x)))));
        values
    }

    /// Returns the distance between neighboring `f32`s at `x`.
    fn unit(x: f64) -> f64 {
        let exponent = (x.abs().log2().floor() as i32).max(f32::MIN_EXP - 1);
        2f64.powi(exponent - (f32::MANTISSA_DIGITS as i32 - 1))
    }

    /// Checks a million points, evenly spaced in a range, against `f64`.
    fn check(function: Function, range: [f32; 2], units: f64) {
        let [from, to] = range;
        let x: Vec<f32> = (0..=POINTS).map(|i| from + (to - from) * (i as f32 / POINTS as f32)).collect();
        for (set, y) in everywhere(function, &x) {
            for (x, y) in x.iter().zip(y) {
                let exact = function.exact(f64::from(*x));
                let error = (f64::from(y) - exact).abs() / unit(exact);
                assert!(error <= units, "{function:?} of {x:e}, {set}: {y:e}, off by {error} units");
            }
        }
    }

    #[test]
    fn exponentials_are_within_two_units() {
        check(Exp, [-104., 88.72], 2.);
        check(Exp, [-1., 1.], 2.);
        check(ExpM1, [-20., 88.72], 2.);
        check(ExpM1, [-1., 1.], 2.);
        check(ExpM1, [-1e-3, 1e-3], 2.);
    }

    #[test]
    fn tanh_is_within_two_units() {
        check(Tanh, [-12., 12.], 2.);
        check(Tanh, [-1., 1.], 2.);
        check(Tanh, [-1e-3, 1e-3], 2.);
    }

    #[test]
    fn ln_1p_exp_is_within_two_units() {
        check(Ln1pExp, [-104., 90.], 2.);
        check(Ln1pExp, [-3., 3.], 2.);
    }

    #[test]
    fn normal_cdf_is_within_two_units_except_in_the_left_tail() {
        check(NormalCdf, [0., 12.], 2.);
        check(NormalCdf, [-0.5, 0.], 2.);
        check(NormalCdf, [-14.2, -0.5], 6.);
    }

    #[test]
    fn special_values_are_exact() {
        let inf = f32::INFINITY;
        let nan = f32::NAN;
        let tiny = f32::from_bits(1);
        let x = [nan, inf, -inf, 0., -0., tiny, -tiny, 1e30, -1e30];
        for function in FUNCTIONS {
            for (set, y) in everywhere(function, &x) {
                let expected = x.map(|x| function.exact(f64::from(x)) as f32);
                for ((x, y), expected) in x.iter().zip(y).zip(expected) {
                    let same = y == expected || y.is_nan() && expected.is_nan();
                    assert!(same, "{function:?} of {x:e}, {set}: {y:e}, not {expected:e}");
                    let odd = function == Tanh && !x.is_nan();
                    assert!(
                        !odd || y.is_sign_negative() == x.is_sign_negative(),
                        "tanh of {x:e}, {set}: {y:e} has the wrong sign"
                    );
                }
            }
        }
    }
}
