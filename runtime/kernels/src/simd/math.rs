//! Exponential functions of single-precision numbers and vectors of them.
//!
//! Each function is generic over [`SinglePrecision`], so it works for scalars and for the vectors of every instruction
//! set. No function has branches, so that the compiler can vectorize a loop over scalars.
//!
//! With fused multiply-adds, every function is within 2 units in the last place of the exact result for every input,
//! denormal results included. Without fused multiply-adds (scalars and [`Portable`](super::Portable)), the bound is 2.5
//! units for [`tanh`] and [`normal`], and 2 units for the others. The tests check these bounds, for [`normal`] only
//! that of the CDF.

use std::f32::consts::LOG2_E;

use crate::number::{Normal, Number};

/// A single-precision number, or a vector of them.
pub trait SinglePrecision: Number {
    /// Whether [`mul_add`](Self::mul_add) rounds once.
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

impl<N: SinglePrecision> Exponential<N> {
    /// Decomposes `e^x` for `-128 ≤ x ≤ 90`.
    #[inline(always)]
    fn of(x: N) -> Self {
        let Reduced { rest, exponent } = Reduced::of(x);
        Self { excess: (rest * rest).mul_add(polynomial(rest, REMAINDER), rest), exponent }
    }
}

/// Minimax polynomial of `(e^r - 1 - r) / r²` for `|r| ≤ ln 2 / 2`: the relative error of `e^r` is 3.1e-9.
const REMAINDER: [f64; 5] = [
    0.499_999_934_323_5,
    0.166_665_203_988_2,
    0.041_668_390_743_5,
    0.008_368_745_133_354,
    0.001_381_454_204_463,
];

/// A number reduced to `rest + exponent · ln 2`, with `|rest| ≤ ln 2 / 2`.
struct Reduced<N> {
    rest: N,
    exponent: N,
}

impl<N: SinglePrecision> Reduced<N> {
    // ln 2 as the sum of two numbers. The first has few enough bits that its product with the exponent is exact.
    const LN_2_HIGH: f64 = 0.693_145_751_953_125;
    const LN_2_LOW: f64 = 1.428_606_820_309_417_3e-6;

    /// Reduces `x`, for `-128 ≤ x ≤ 90`.
    #[inline(always)]
    fn of(x: N) -> Self {
        let [exponent, high] = Self::exponent_and_high(x);
        Self { rest: exponent.mul_add(x.splat(-Self::LN_2_LOW), high), exponent }
    }

    /// Reduces `x + low` for a `low` that is much smaller than 1. Also returns the rounding error of the rest.
    #[inline(always)]
    fn of_sum(x: N, low: N) -> (Self, N) {
        let [exponent, high] = Self::exponent_and_high(x);
        let low = exponent.mul_add(x.splat(-Self::LN_2_LOW), low);
        let rest = high + low;
        (Self { rest, exponent }, low - (rest - high))
    }

    /// Returns the exponent, and `x - exponent · LN_2_HIGH`.
    #[inline(always)]
    fn exponent_and_high(x: N) -> [N; 2] {
        let exponent = (x * x.splat(f64::from(LOG2_E))).round();
        [exponent, exponent.mul_add(x.splat(-Self::LN_2_HIGH), x)]
    }
}

/// Clamps `x` to a range outside of which `e^x` overflows, or underflows to zero.
#[inline(always)]
fn clamped<N: SinglePrecision>(x: N) -> N {
    x.at_most(x.splat(90.)).at_least(x.splat(-105.))
}

/// Returns `e^x`.
#[inline(always)]
pub fn exp<N: SinglePrecision>(x: N) -> N {
    let Reduced { rest, exponent } = Reduced::of(clamped(x));
    let [c2, c3, c4, c5, c6] = REMAINDER;
    polynomial(rest, [1., 1., c2, c3, c4, c5, c6]).ldexp(exponent)
}

/// Returns `e^x - 1`, accurate near zero too.
#[inline(always)]
pub fn exp_m1<N: SinglePrecision>(x: N) -> N {
    let Exponential { excess, exponent } = Exponential::of(clamped(x));
    let power = x.splat(1.).ldexp(exponent);
    let difference = power.mul_add(excess, power - x.splat(1.));
    // From 80 on, subtracting 1 has no effect, and the power may overflow before the result does.
    x.where_less(x.splat(80.), difference, (x.splat(1.) + excess).ldexp(exponent))
}

/// Returns `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<N: SinglePrecision>(x: N) -> N {
    // A formula in e^-|x| neither overflows nor loses precision in the left tail.
    let one = x.splat(1.);
    let power = exp(-x.abs());
    let quotient = power / (one + power);
    // σ(-|x|) = power - power · quotient and σ(|x|) = 1 - quotient. The rounding errors of `one + power` and of the
    // quotient enter only through the second term, which is the smaller one.
    let first = x.where_less(x.splat(0.), power, one);
    first.mul_add(-quotient, first)
}

/// Returns the hyperbolic tangent.
#[inline(always)]
pub fn tanh<N: SinglePrecision>(x: N) -> N {
    let one = x.splat(1.);
    // From 10 on, the result rounds to 1.
    let magnitude = x.abs().at_most(x.splat(10.));
    let Exponential { excess, exponent } = Exponential::of(-(magnitude + magnitude));
    let power_of_two = one.ldexp(exponent);
    let power = power_of_two.mul_add(excess, power_of_two);
    let power_m1 = power_of_two.mul_add(excess, power_of_two - one);
    // With power = e^-2|x|: near zero, tanh |x| = h + h · (1 - power) / (1 + power) with h = (1 - power) / 2;
    // elsewhere, tanh |x| = 1 - 2 · power / (1 + power). The error of the quotient enters only through the second
    // term, which is the smaller one.
    let limit = x.splat(0.7);
    let h = power_m1 * x.splat(-0.5);
    let quotient = magnitude.where_less(limit, -power_m1, power) / (power_m1 + x.splat(2.));
    let factor = magnitude.where_less(limit, h, x.splat(-2.));
    factor.mul_add(quotient, magnitude.where_less(limit, h, one)).copysign(x)
}

/// Returns `ln(1 + e^x)`.
#[inline(always)]
pub fn ln_1p_exp<N: SinglePrecision>(x: N) -> N {
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

/// Returns the CDF `Φ` and the PDF of the standard normal distribution at `x`.
///
/// Between -0.9 and 0.9, `Φ(x) = ½ + x · p(-x²/2)` with a polynomial `p`. Elsewhere, with `t = |x|` and
/// `k = 1 / √(2π)`, `Φ(-t) = k e^(-t²/2) / (t + c(t))`. The function `c` decreases from `2k` to 0. It is computed as
/// `c(t) = 2k - t · n(t) / m(t)` with polynomials `n` and `m`.
#[inline(always)]
pub fn normal<N: SinglePrecision>(x: N) -> Normal<N> {
    const CENTER: f64 = 0.9;
    /// Minimax polynomial of `(Φ(x) - ½) / x` in `-x²/2` for `|x| ≤ 0.9`: the relative error of `Φ` is 8.8e-9.
    const P: [f64; 5] = [
        0.398_942_236_496_8,
        0.132_978_871_586_8,
        0.039_870_150_765_41,
        0.009_369_002_812_831,
        0.001_531_210_511_034,
    ];
    /// The coefficients of `n`. `n / m` is a minimax fraction for `0.89 ≤ t ≤ 14.6`: the relative error of `Φ` is
    /// 3.7e-9.
    const NUMERATOR: [f64; 4] =
        [0.363_358_756_556, 0.238_087_780_421_1, 0.070_755_976_104_62, 0.009_601_395_447_382];
    /// The coefficients of `m`.
    const DENOMINATOR: [f64; 5] =
        [1., 0.954_914_314_854_5, 0.429_065_779_654_8, 0.103_731_383_478_2, 0.012_034_175_392_71];
    /// `1 / √(2π)`
    const K: f64 = 0.398_942_280_401_432_7;
    /// `2 / √(2π)`, rounded to `f32`.
    const TWO_K: f64 = 0.797_884_583_473_205_6;
    // From 16 on, the tail rounds to 0.
    let t = x.abs().at_most(x.splat(16.));
    let minus_half_t = t * t.splat(-0.5);
    // -t²/2, the argument of the exponential.
    let argument = t * minus_half_t;
    let (reduced, error) = Reduced::of_sum(argument, accurate_mul_add(t, minus_half_t, -argument));
    let Reduced { rest, exponent } = reduced;
    let rest_squared = rest * rest;
    let remainder = polynomial(rest, REMAINDER);
    let excess = rest_squared.mul_add(remainder, rest);
    let error = error + rest_squared.mul_add(remainder, rest - excess);

    let center = x.mul_add(polynomial(argument, P), x.splat(0.5));

    let c = (-t).mul_add(polynomial(t, NUMERATOR) / polynomial(t, DENOMINATOR), t.splat(TWO_K));
    let sum = t + c;
    let reciprocal = t.splat(K) / sum;
    // The rounding errors of the sum and of the quotient would double the error of the result. `residual` is the
    // difference between K and the product of the rounded quotient and the exact sum.
    let rounding = c - (sum - t);
    let residual = accurate_mul_add(-reciprocal, sum, t.splat(K));
    let residual = (-reciprocal).mul_add(rounding, residual);
    // `error` holds the rounding errors of `rest` and `excess`, which would also add to the error of the result.
    let excess_of_tail = excess + residual.mul_add(t.splat(1. / K), error);
    let tail = reciprocal.mul_add(excess_of_tail, reciprocal).ldexp(exponent);

    let outside = x.where_less(x.splat(0.), tail, x.splat(1.) - tail);
    let cdf = t.where_less(t.splat(CENTER), center, outside);
    let density = excess.mul_add(x.splat(K), x.splat(K));
    Normal { cdf, pdf: density.ldexp(exponent) }
}

/// Returns `a · b + c` for a `c` that is close to `-a · b`, without a rounding error of the product.
#[inline(always)]
fn accurate_mul_add<N: SinglePrecision>(a: N, b: N, c: N) -> N {
    if N::FUSED {
        return a.mul_add(b, c);
    }
    // Dekker's product: the products of the halves of the digits are exact.
    let [[a_high, a_low], [b_high, b_low]] = [halves(a), halves(b)];
    let product = a * b;
    let error = ((a_high * b_high - product) + (a_high * b_low + a_low * b_high)) + a_low * b_low;
    (product + c) + error
}

/// Splits a number into the upper and the lower half of its digits.
#[inline(always)]
fn halves<N: SinglePrecision>(x: N) -> [N; 2] {
    let scaled = x * x.splat(4097.);
    let high = scaled - (scaled - x);
    [high, x - high]
}

/// Evaluates a polynomial by Horner's rule. The constant coefficient comes first.
#[inline(always)]
fn polynomial<N: SinglePrecision, const COUNT: usize>(x: N, coefficients: [f64; COUNT]) -> N {
    let mut sum = x.splat(coefficients[COUNT - 1]);
    for coefficient in coefficients[..COUNT - 1].iter().rev() {
        sum = sum.mul_add(x, x.splat(*coefficient));
    }
    sum
}

#[cfg(test)]
mod tests {
    use candle_core::cpu::erf::erfc_f64;

    use crate::simd::{Isa, Kernel, Simd, Vectors, available, dispatch_to};

    use super::*;

    const POINTS: u32 = 1_000_000;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Function {
        Exp,
        ExpM1,
        Sigmoid,
        Tanh,
        Ln1pExp,
        NormalCdf,
    }
    use Function::*;

    const FUNCTIONS: [Function; 6] = [Exp, ExpM1, Sigmoid, Tanh, Ln1pExp, NormalCdf];

    impl Function {
        fn evaluate<N: SinglePrecision>(self, x: N) -> N {
            match self {
                Exp => exp(x),
                ExpM1 => exp_m1(x),
                Sigmoid => sigmoid(x),
                Tanh => tanh(x),
                Ln1pExp => ln_1p_exp(x),
                NormalCdf => normal(x).cdf,
            }
        }

        fn exact(self, x: f64) -> f64 {
            match self {
                Exp => x.exp(),
                ExpM1 => x.exp_m1(),
                Sigmoid => 1. / (1. + (-x).exp()),
                Tanh => x.tanh(),
                Ln1pExp => x.max(0.) + (-x.abs()).exp().ln_1p(),
                NormalCdf => 0.5 * erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2),
            }
        }

        /// Returns the bound of the error in units in the last place, as the module's documentation states it.
        fn bound(self, fused: bool) -> f64 {
            if !fused && matches!(self, Tanh | NormalCdf) { 2.5 } else { 2. }
        }
    }

    /// Evaluates a function for vectors of an instruction set. Also returns whether the instruction set has fused
    /// multiply-adds.
    struct Evaluate<'a>(Function, &'a [f32]);

    impl Kernel for Evaluate<'_> {
        type Output = (bool, Vec<f32>);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (bool, Vec<f32>) {
            let mut y = vec![0.; self.1.len()];
            for (y, x) in y.chunks_mut(S::LANES).zip(self.1.chunks(S::LANES)) {
                // SAFETY: both chunks have `x.len()` elements.
                unsafe {
                    let x = Vectors::load_partial(simd, x.as_ptr(), x.len());
                    self.0.evaluate(x).store_partial(y.as_mut_ptr(), y.len());
                }
            }
            (S::FUSED, y)
        }
    }

    /// Returns the function's values for scalars and for each instruction set, including emulated NEON, and whether
    /// multiply-adds are fused.
    fn values_for_all_isas(function: Function, x: &[f32]) -> Vec<(String, bool, Vec<f32>)> {
        let mut sets = available();
        sets.push(Isa::Neon);
        let mut values = vec![("scalar".into(), false, x.iter().map(|x| function.evaluate(*x)).collect())];
        for isa in sets {
            let (fused, y) = dispatch_to(isa, Evaluate(function, x));
            values.push((format!("{isa:?}"), fused, y));
        }
        values
    }

    /// Returns the distance between neighboring `f32`s at `x`.
    fn ulp(x: f64) -> f64 {
        let exponent = (x.abs().log2().floor() as i32).max(f32::MIN_EXP - 1);
        2f64.powi(exponent - (f32::MANTISSA_DIGITS as i32 - 1))
    }

    /// Checks the function's values against `f64`.
    fn check(function: Function, x: &[f32]) {
        let exact: Vec<f64> = x.iter().map(|x| function.exact(f64::from(*x))).collect();
        for (set, fused, y) in values_for_all_isas(function, x) {
            let bound = function.bound(fused);
            for ((x, y), exact) in x.iter().zip(y).zip(&exact) {
                if exact.abs() > f64::from(f32::MAX) {
                    assert_eq!(y, f32::INFINITY, "{function:?} of {x:e}, {set}");
                    continue;
                }
                let error = (f64::from(y) - exact).abs() / ulp(*exact);
                assert!(error <= bound, "{function:?} of {x:e}, {set}: {y:e}, off by {error} units");
            }
        }
    }

    /// Returns a million points, evenly spaced in a range.
    fn range(from: f32, to: f32) -> Vec<f32> {
        (0..=POINTS).map(|i| from + (to - from) * (i as f32 / POINTS as f32)).collect()
    }

    /// Returns a million points of all signs and exponents, denormal numbers included.
    fn all_exponents() -> Vec<f32> {
        let stride = (u32::MAX / POINTS) | 1;
        (0..POINTS).map(|i| f32::from_bits(i.wrapping_mul(stride))).filter(|x| x.is_finite()).collect()
    }

    #[test]
    fn all_functions_stay_within_their_bounds_for_all_exponents() {
        let x = all_exponents();
        for function in FUNCTIONS {
            check(function, &x);
        }
    }

    #[test]
    fn exponentials_stay_within_their_bounds() {
        check(Exp, &range(-104., 88.72));
        check(ExpM1, &range(-20., 88.72));
        check(ExpM1, &range(-1., 1.));
        check(ExpM1, &range(-1e-3, 1e-3));
    }

    #[test]
    fn sigmoid_and_tanh_stay_within_their_bounds() {
        check(Sigmoid, &range(-104., 20.));
        check(Sigmoid, &range(-3., 3.));
        check(Tanh, &range(-12., 12.));
        check(Tanh, &range(-1., 1.));
    }

    #[test]
    fn ln_1p_exp_stays_within_its_bound() {
        check(Ln1pExp, &range(-104., 90.));
        check(Ln1pExp, &range(-3., 3.));
    }

    #[test]
    fn normal_cdf_stays_within_its_bound() {
        check(NormalCdf, &range(-14.2, 8.));
        check(NormalCdf, &range(-3., 0.));
    }

    #[test]
    fn special_values_are_exact() {
        let inf = f32::INFINITY;
        let nan = f32::NAN;
        let tiny = f32::from_bits(1);
        let x = [nan, inf, -inf, 0., -0., tiny, -tiny, 1e30, -1e30];
        for function in FUNCTIONS {
            for (set, _, y) in values_for_all_isas(function, &x) {
                let expected = x.map(|x| function.exact(f64::from(x)) as f32);
                for ((x, y), expected) in x.iter().zip(y).zip(expected) {
                    let same = y == expected || y.is_nan() && expected.is_nan();
                    assert!(same, "{function:?} of {x:e}, {set}: {y:e}, not {expected:e}");
                    // The result of `tanh` has the sign of its input, even for zeros.
                    let keeps_sign = function == Tanh && !x.is_nan();
                    assert!(
                        !keeps_sign || y.is_sign_negative() == x.is_sign_negative(),
                        "tanh of {x:e}, {set}: {y:e} has the wrong sign"
                    );
                }
            }
        }
    }
}
