//! Activations and softmax.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use crate::Result;
use crate::graph::Op;
use crate::kernels::activation::Activation;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::Operands;

/// From this input on, `ln(1 + exp(x))` rounds to `x` in f32.
const SOFTPLUS_IS_IDENTITY: f64 = 20.;

/// Activations that kernels fuse.
pub(super) fn fused(b: &mut Builder, x: &Value, activation: Activation) -> Result<String> {
    let name = x.name.as_str();
    Ok(match activation {
        Activation::Identity => x.name.clone(),
        Activation::Relu => b.op("Relu", &[name]),
        Activation::Relu6 => {
            let (low, high) = (b.number(0., x.dtype)?, b.number(6., x.dtype)?);
            b.op("Clip", &[name, &low, &high])
        }
        Activation::LeakyRelu { negative_slope } => {
            b.op_with("LeakyRelu", &[name], vec![Attribute::float("alpha", negative_slope)])
        }
        Activation::Silu => {
            let gate = b.op("Sigmoid", &[name]);
            b.op("Mul", &[name, &gate])
        }
        Activation::Gelu => {
            let scale = b.number(FRAC_1_SQRT_2, x.dtype)?;
            let scaled = b.op("Mul", &[name, &scale]);
            let erf = b.op("Erf", &[scaled]);
            half_product(b, x, &erf)?
        }
        Activation::Sigmoid => b.op("Sigmoid", &[name]),
        Activation::Tanh => b.op("Tanh", &[name]),
        Activation::Hardswish => b.op("HardSwish", &[name]),
    })
}

/// `0.5 · x · (1 + y)`
fn half_product(b: &mut Builder, x: &Value, y: &str) -> Result<String> {
    let (one, half) = (b.number(1., x.dtype)?, b.number(0.5, x.dtype)?);
    let sum = b.op("Add", &[y, &one]);
    let product = b.op("Mul", &[&x.name, &sum]);
    Ok(b.op("Mul", &[product, half]))
}

/// Activations that always run as a separate pass.
pub(super) fn separate(b: &mut Builder, x: &Value, op: &Op) -> Result<String> {
    let name = x.name.as_str();
    let alpha = |alpha: f64| vec![Attribute::float("alpha", alpha)];
    Ok(match *op {
        Op::Elu { alpha: a } => b.op_with("Elu", &[name], alpha(a)),
        Op::Selu => b.op("Selu", &[name]),
        Op::Celu { alpha: a } => b.op_with("Celu", &[name], alpha(a)),
        Op::Softplus { beta, threshold } => softplus(b, x, beta, threshold)?,
        Op::Mish => {
            let softplus = b.op("Softplus", &[name]);
            let tanh = b.op("Tanh", &[softplus]);
            b.op("Mul", &[name, &tanh])
        }
        Op::HardSigmoid => b.op_with("HardSigmoid", &[name], alpha(1. / 6.)),
        Op::LogSigmoid => {
            let negative = b.op("Neg", &[name]);
            let softplus = b.op("Softplus", &[negative]);
            b.op("Neg", &[softplus])
        }
        Op::GeluTanh => {
            let cube = b.op("Mul", &[name, name]);
            let cube = b.op("Mul", &[name, &cube]);
            let weight = b.number(0.044715, x.dtype)?;
            let weighted = b.op("Mul", &[cube, weight]);
            let sum = b.op("Add", &[name, &weighted]);
            let scale = b.number(FRAC_2_PI.sqrt(), x.dtype)?;
            let scaled = b.op("Mul", &[sum, scale]);
            let tanh = b.op("Tanh", &[scaled]);
            half_product(b, x, &tanh)?
        }
        Op::Threshold { threshold, value } => {
            let (threshold, value) = (b.number(threshold, x.dtype)?, b.number(value, x.dtype)?);
            let is_below = b.op("LessOrEqual", &[name, &threshold]);
            b.op("Where", &[&is_below, &value, name])
        }
        Op::HardShrink { lambd } => shrink(b, name, lambd, 0.),
        Op::SoftShrink { lambd } => shrink(b, name, lambd, lambd),
        Op::TanhShrink => {
            let tanh = b.op("Tanh", &[name]);
            b.op("Sub", &[name, &tanh])
        }
        // The caller passes no other operations.
        _ => b.op("Softsign", &[name]),
    })
}

fn shrink(b: &mut Builder, x: &str, lambd: f64, bias: f64) -> String {
    b.op_with("Shrink", &[x], vec![Attribute::float("lambd", lambd), Attribute::float("bias", bias)])
}

/// `ln(1 + exp(beta · x)) / beta`, and `x` where `beta · x > threshold`.
fn softplus(b: &mut Builder, x: &Value, beta: f64, threshold: f64) -> Result<String> {
    let factor = b.number(beta, x.dtype)?;
    let scaled = b.op("Mul", &[&x.name, &factor]);
    let softplus = b.op("Softplus", &[&scaled]);
    let y = b.op("Div", &[softplus, factor]);
    if threshold >= SOFTPLUS_IS_IDENTITY {
        return Ok(y);
    }
    let threshold = b.number(threshold, x.dtype)?;
    let is_above = b.op("Greater", &[scaled, threshold]);
    Ok(b.op("Where", &[&is_above, &x.name, &y]))
}

/// One slope for all channels, or one for each.
pub(super) fn prelu(b: &mut Builder, operands: &Operands<'_>) -> Result<String> {
    let (x, slope) = (operands.required(0)?, operands.required(1)?);
    let spatial: Vec<usize> = (1..x.rank().max(1) - usize::from(x.rank() > 1)).collect();
    let slope = if slope.dims[0].number() == Some(1) { slope } else { b.unsqueeze(&slope, &spatial)? };
    Ok(b.op("PRelu", &[x.name, slope.name]))
}

/// `a · σ(b)`, with the halves `a` and `b` of a dimension.
pub(super) fn glu(b: &mut Builder, x: &Value, dim: usize) -> String {
    let halves = b.op_with_outputs("Split", &[&x.name], vec![Attribute::int("axis", dim as i64)], 2);
    let gate = b.op("Sigmoid", &[&halves[1]]);
    b.op("Mul", &[&halves[0], &gate])
}

pub(super) fn softmax(b: &mut Builder, op_type: &str, x: &Value, dim: usize) -> String {
    b.op_with(op_type, &[&x.name], vec![Attribute::int("axis", dim as i64)])
}
