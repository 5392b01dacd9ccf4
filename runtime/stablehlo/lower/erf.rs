//! The distribution function of the normal distribution. Version 1.0 of StableHLO has no error function.

use std::f64::consts::FRAC_1_SQRT_2;

use super::super::builder::Builder;
use super::super::ir::Binary::{Add, Multiply};
use super::super::ir::{Direction, Element, Unary, Value};

/// From this magnitude on, the error function of f32 is 1.
const LIMIT_F32: f64 = 3.832_506_856_900_711;

/// The coefficients of `x · P(x²) / Q(x²)`, the error function in f32, highest power first, as in Eigen.
const NUMERATOR_F32: &[f64] = &[
    -2.726_142_258_013_06e-10,
    2.770_681_424_959_02e-8,
    -2.101_024_020_821_08e-6,
    -5.692_506_394_623_46e-5,
    -7.349_906_303_268_55e-4,
    -2.954_599_808_540_25e-3,
    -1.609_603_332_624_15e-2,
];
const DENOMINATOR_F32: &[f64] = &[
    -1.456_607_184_649_96e-5,
    -2.133_740_552_789_05e-4,
    -1.682_826_974_382_03e-3,
    -7.373_329_167_204_68e-3,
    -1.426_473_905_141_89e-2,
];

/// The coefficients of the Cephes library in f64, highest power first: of `erf(x) = x · T(x²) / U(x²)` up to 1, and of
/// `1 − erf(x) = exp(−x²) · P(x) / Q(x)` up to 8.
const T: &[f64] = &[
    9.604_973_739_870_516,
    9.002_601_972_038_427e1,
    2.232_005_345_946_843e3,
    7.003_325_141_128_051e3,
    5.559_230_130_103_949e4,
];
const U: &[f64] = &[
    1.,
    3.356_171_416_475_031e1,
    5.213_579_497_801_527e2,
    4.594_323_829_709_801e3,
    2.262_900_006_138_909e4,
    4.926_739_426_086_359e4,
];
const P: &[f64] = &[
    2.461_969_814_735_305e-10,
    5.641_895_648_310_688e-1,
    7.463_210_564_422_699,
    4.863_719_709_856_814e1,
    1.965_208_329_560_770_8e2,
    5.264_451_949_954_773e2,
    9.345_285_271_719_576e2,
    1.027_551_886_895_157_2e3,
    5.575_353_353_693_994e2,
];
const Q: &[f64] = &[
    1.,
    1.322_819_511_547_449_9e1,
    8.670_721_408_859_897e1,
    3.549_377_788_878_199e2,
    9.757_085_017_432_055e2,
    1.823_909_166_879_097_3e3,
    2.246_337_608_187_109_8e3,
    1.656_663_091_941_613_5e3,
    5.575_353_408_177_277e2,
];

/// Returns `(1 + erf(x / √2)) / 2`.
pub(super) fn normal_distribution(b: &mut Builder, x: &Value) -> Value {
    let scaled = b.with_number(Multiply, x, FRAC_1_SQRT_2);
    let erf = if x.element == Element::F64 { erf_f64(b, &scaled) } else { erf_f32(b, &scaled) };
    let sum = b.with_number(Add, &erf, 1.);
    b.with_number(Multiply, &sum, 0.5)
}

/// The error function in f32. Floats of 16 bits are widened.
fn erf_f32(b: &mut Builder, x: &Value) -> Value {
    let wide = b.convert(x, Element::F32);
    let y = b.clamp(&wide, -LIMIT_F32, LIMIT_F32);
    let quotient = quotient_of_square(b, &y, NUMERATOR_F32, DENOMINATOR_F32);
    b.convert(&quotient, x.element)
}

fn erf_f64(b: &mut Builder, x: &Value) -> Value {
    let inner = b.clamp(x, -1., 1.);
    let near_zero = quotient_of_square(b, &inner, T, U);
    // Beyond 8, the result is 1.
    let outer = b.clamp(x, -8., 8.);
    let magnitude = b.unary(Unary::Abs, &outer);
    let square = b.mul(&outer, &outer);
    let negative = b.unary(Unary::Negate, &square);
    let exponential = b.unary(Unary::Exponential, &negative);
    let numerator = polynomial(b, &magnitude, P);
    let denominator = polynomial(b, &magnitude, Q);
    let quotient = b.div(&numerator, &denominator);
    let rest = b.mul(&exponential, &quotient);
    let one = b.scalar(1., x.element);
    let complement = b.sub(&one, &rest);
    let sign = b.unary(Unary::Sign, x);
    let far = b.mul(&sign, &complement);
    let is_near = b.compare_number(Direction::Le, &magnitude, 1.);
    b.select(&is_near, &near_zero, &far)
}

/// Returns `x` times the quotient of two polynomials of `x²`.
fn quotient_of_square(b: &mut Builder, x: &Value, numerator: &[f64], denominator: &[f64]) -> Value {
    let square = b.mul(x, x);
    let numerator = polynomial(b, &square, numerator);
    let denominator = polynomial(b, &square, denominator);
    let quotient = b.div(&numerator, &denominator);
    b.mul(x, &quotient)
}

/// Returns the polynomial with these coefficients, highest power first.
fn polynomial(b: &mut Builder, x: &Value, coefficients: &[f64]) -> Value {
    let first = b.full(coefficients[0], &x.dims, x.element);
    coefficients[1..].iter().fold(first, |sum, coefficient| {
        let product = b.mul(&sum, x);
        b.with_number(Add, &product, *coefficient)
    })
}
