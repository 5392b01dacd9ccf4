//! Activations and softmax.

use std::f64::consts::FRAC_2_PI;

use crate::graph::Op;
use crate::kernels::activation::Activation;

use super::super::builder::Builder;
use super::super::ir::Binary::{Add, Divide, Maximum, Minimum, Multiply};
use super::super::ir::{Direction, Unary, Value};
use super::erf;

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// Activations that kernels fuse.
pub(super) fn fused(b: &mut Builder, x: &Value, activation: Activation) -> Value {
    match activation {
        Activation::Identity => x.clone(),
        Activation::Relu => b.with_number(Maximum, x, 0.),
        Activation::Relu6 => b.clamp(x, 0., 6.),
        Activation::LeakyRelu { negative_slope } => {
            let slope = b.scalar(negative_slope, x.element);
            leaky(b, x, &slope)
        }
        Activation::Silu => {
            let gate = b.unary(Unary::Logistic, x);
            b.mul(x, &gate)
        }
        Activation::Gelu => {
            let distribution = erf::normal_distribution(b, x);
            b.mul(x, &distribution)
        }
        Activation::Sigmoid => b.unary(Unary::Logistic, x),
        Activation::Tanh => b.unary(Unary::Tanh, x),
        Activation::Hardswish => {
            let gate = hard_sigmoid(b, x);
            b.mul(x, &gate)
        }
    }
}

/// `clamp(x / 6 + 1 / 2, 0, 1)`
fn hard_sigmoid(b: &mut Builder, x: &Value) -> Value {
    let shifted = b.with_number(Add, x, 3.);
    let clamped = b.clamp(&shifted, 0., 6.);
    b.with_number(Divide, &clamped, 6.)
}

/// `x` if it is positive, and `slope · x` otherwise.
fn leaky(b: &mut Builder, x: &Value, slope: &Value) -> Value {
    let is_positive = b.compare_number(Direction::Gt, x, 0.);
    let scaled = b.mul(x, slope);
    b.select(&is_positive, x, &scaled)
}

/// `x` if it is positive, and `alpha · (exp(x / width) − 1)` otherwise.
fn exponential_linear(b: &mut Builder, x: &Value, alpha: f64, width: f64) -> Value {
    // The exponential of a large number would be infinite.
    let negative = b.with_number(Minimum, x, 0.);
    let negative = if width == 1. { negative } else { b.with_number(Divide, &negative, width) };
    let exponential = b.unary(Unary::ExponentialMinusOne, &negative);
    let scaled = b.with_number(Multiply, &exponential, alpha);
    let is_positive = b.compare_number(Direction::Gt, x, 0.);
    b.select(&is_positive, x, &scaled)
}

/// `ln(1 + exp(x))`, as `max(x, 0) + ln(1 + exp(−|x|))`, which does not overflow.
fn softplus(b: &mut Builder, x: &Value) -> Value {
    let magnitude = b.unary(Unary::Abs, x);
    let negative = b.unary(Unary::Negate, &magnitude);
    let exponential = b.unary(Unary::Exponential, &negative);
    let rest = b.unary(Unary::LogPlusOne, &exponential);
    let positive = b.with_number(Maximum, x, 0.);
    b.add(&positive, &rest)
}

/// Activations that always run as a separate pass.
pub(super) fn separate(b: &mut Builder, x: &Value, op: &Op) -> Value {
    match *op {
        Op::Elu { alpha } => exponential_linear(b, x, alpha, 1.),
        Op::Selu => {
            let y = exponential_linear(b, x, SELU_ALPHA, 1.);
            b.with_number(Multiply, &y, SELU_SCALE)
        }
        Op::Celu { alpha } => exponential_linear(b, x, alpha, alpha),
        Op::Softplus { beta, threshold } => {
            let scaled = b.with_number(Multiply, x, beta);
            let y = softplus(b, &scaled);
            let y = b.with_number(Divide, &y, beta);
            let is_above = b.compare_number(Direction::Gt, &scaled, threshold);
            b.select(&is_above, x, &y)
        }
        Op::Mish => {
            let softplus = softplus(b, x);
            let tanh = b.unary(Unary::Tanh, &softplus);
            b.mul(x, &tanh)
        }
        Op::HardSigmoid => hard_sigmoid(b, x),
        Op::LogSigmoid => {
            let negative = b.unary(Unary::Negate, x);
            let softplus = softplus(b, &negative);
            b.unary(Unary::Negate, &softplus)
        }
        Op::GeluTanh => gelu_tanh(b, x),
        Op::Threshold { threshold, value } => {
            let is_below = b.compare_number(Direction::Le, x, threshold);
            let value = b.scalar(value, x.element);
            b.select(&is_below, &value, x)
        }
        Op::HardShrink { lambd } => {
            let magnitude = b.unary(Unary::Abs, x);
            let is_kept = b.compare_number(Direction::Gt, &magnitude, lambd);
            let zero = b.scalar(0., x.element);
            b.select(&is_kept, x, &zero)
        }
        Op::SoftShrink { lambd } => {
            let inner = b.clamp(x, -lambd, lambd);
            b.sub(x, &inner)
        }
        Op::TanhShrink => {
            let tanh = b.unary(Unary::Tanh, x);
            b.sub(x, &tanh)
        }
        // `SoftSign`. The caller passes no other operations.
        _ => {
            let magnitude = b.unary(Unary::Abs, x);
            let divisor = b.with_number(Add, &magnitude, 1.);
            b.div(x, &divisor)
        }
    }
}

/// `x / 2 · (1 + tanh(√(2 / π) · (x + 0.044715 · x³)))`
fn gelu_tanh(b: &mut Builder, x: &Value) -> Value {
    let square = b.mul(x, x);
    let weighted = b.with_number(Multiply, &square, 0.044715);
    let factor = b.with_number(Add, &weighted, 1.);
    let inner = b.mul(x, &factor);
    let scaled = b.with_number(Multiply, &inner, FRAC_2_PI.sqrt());
    let tanh = b.unary(Unary::Tanh, &scaled);
    let sum = b.with_number(Add, &tanh, 1.);
    let half = b.with_number(Multiply, x, 0.5);
    b.mul(&half, &sum)
}

/// One slope for all channels, or one for each.
pub(super) fn prelu(b: &mut Builder, x: &Value, slope: &Value) -> Value {
    let channel = usize::from(x.rank() > 1);
    if slope.dims == [1] {
        return leaky(b, x, slope);
    }
    let slope = b.broadcast_in_dim(slope, vec![channel], &x.dims);
    leaky(b, x, &slope)
}

/// `a · σ(b)`, with the halves `a` and `b` of a dimension.
pub(super) fn glu(b: &mut Builder, x: &Value, dim: usize) -> Value {
    let half = x.dims[dim] / 2;
    let value = b.slice(x, dim, 0..half, 1);
    let gate = b.slice(x, dim, half..2 * half, 1);
    let gate = b.unary(Unary::Logistic, &gate);
    b.mul(&value, &gate)
}

/// Returns `x` minus its largest element along a dimension. The largest element does not change the result of softmax,
/// so its gradient is 0.
fn below_maximum(b: &mut Builder, x: &Value, dim: usize) -> Value {
    let maximum = b.reduce(Maximum, x, &[dim], true);
    b.make_constant(&maximum);
    b.sub(x, &maximum)
}

/// Softmax that is 0 for all elements along a dimension if all of them are −∞.
pub(super) fn masked_softmax(b: &mut Builder, x: &Value, dim: usize) -> Value {
    let maximum = b.reduce(Maximum, x, &[dim], true);
    // −∞ minus −∞ is not a number.
    let maximum = b.with_number(Maximum, &maximum, f64::from(f32::MIN));
    b.make_constant(&maximum);
    let shifted = b.sub(x, &maximum);
    let exponentials = b.unary(Unary::Exponential, &shifted);
    let sum = b.sum(&exponentials, &[dim], true);
    let is_empty = b.compare_number(Direction::Eq, &sum, 0.);
    let one = b.scalar(1., x.element);
    let divisor = b.select(&is_empty, &one, &sum);
    b.div(&exponentials, &divisor)
}

pub(super) fn softmax(b: &mut Builder, x: &Value, dim: usize) -> Value {
    let shifted = below_maximum(b, x, dim);
    let exponentials = b.unary(Unary::Exponential, &shifted);
    let sum = b.sum(&exponentials, &[dim], true);
    b.div(&exponentials, &sum)
}

pub(super) fn log_softmax(b: &mut Builder, x: &Value, dim: usize) -> Value {
    let shifted = below_maximum(b, x, dim);
    let exponentials = b.unary(Unary::Exponential, &shifted);
    let sum = b.sum(&exponentials, &[dim], true);
    let log = b.unary(Unary::Log, &sum);
    b.sub(&shifted, &log)
}
