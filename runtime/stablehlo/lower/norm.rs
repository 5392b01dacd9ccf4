//! Normalization.

use crate::Result;

use super::super::builder::Builder;
use super::super::ir::Binary::Add;
use super::super::ir::{Unary, Value};
use super::Operands;

pub(super) fn batch_norm(b: &mut Builder, operands: &Operands<'_>, eps: f64) -> Result<Value> {
    let (x, mean, variance) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let shifted = b.with_number(Add, &variance, eps);
    let mut scale = b.unary(Unary::Rsqrt, &shifted);
    if let Some(weight) = operands.optional(3) {
        scale = b.mul(&scale, weight);
    }
    let [mean, scale] = [mean, scale].map(|vector| b.broadcast_in_dim(&vector, vec![1], &x.dims));
    let centered = b.sub(&x, &mean);
    let y = b.mul(&centered, &scale);
    Ok(match operands.optional(4) {
        Some(bias) => {
            let bias = b.broadcast_in_dim(bias, vec![1], &x.dims);
            b.add(&y, &bias)
        }
        None => y,
    })
}

/// Normalizes each instance and channel.
pub(super) fn instance_norm(b: &mut Builder, operands: &Operands<'_>, eps: f64) -> Result<Value> {
    let x = operands.required(0)?;
    let y = normalized(b, &x, &(2..x.rank()).collect::<Vec<_>>(), eps);
    Ok(affine_channels(b, &y, operands))
}

pub(super) fn layer_norm(b: &mut Builder, operands: &Operands<'_>, dims: usize, eps: f64) -> Result<Value> {
    let x = operands.required(0)?;
    let mut y = normalized(b, &x, &(x.rank() - dims..x.rank()).collect::<Vec<_>>(), eps);
    if let Some(weight) = operands.optional(1) {
        y = b.mul(&y, weight);
    }
    if let Some(bias) = operands.optional(2) {
        y = b.add(&y, bias);
    }
    Ok(y)
}

/// `x / sqrt(mean(x²) + eps) · weight`
pub(super) fn rms_norm(b: &mut Builder, operands: &Operands<'_>, dims: usize, eps: f64) -> Result<Value> {
    let x = operands.required(0)?;
    let squares = b.mul(&x, &x);
    let mean = b.mean(&squares, &(x.rank() - dims..x.rank()).collect::<Vec<_>>(), true);
    let shifted = b.with_number(Add, &mean, eps);
    let scale = b.unary(Unary::Rsqrt, &shifted);
    let y = b.mul(&x, &scale);
    Ok(match operands.optional(1) {
        Some(weight) => b.mul(&y, weight),
        None => y,
    })
}

/// Normalizes each group, then applies the weight and the bias of each channel.
pub(super) fn group_norm(b: &mut Builder, operands: &Operands<'_>, groups: usize, eps: f64) -> Result<Value> {
    let x = operands.required(0)?;
    let rest = x.dims[1..].iter().product::<usize>() / groups;
    let grouped = b.reshape(&x, &[x.dims[0], groups, rest]);
    let normalized = normalized(b, &grouped, &[2], eps);
    let y = b.reshape(&normalized, &x.dims);
    Ok(affine_channels(b, &y, operands))
}

/// `(x − mean) / sqrt(variance + eps)`, with the mean and the variance over these dimensions.
fn normalized(b: &mut Builder, x: &Value, dims: &[usize], eps: f64) -> Value {
    let mean = b.mean(x, dims, true);
    let centered = b.sub(x, &mean);
    let squares = b.mul(&centered, &centered);
    let variance = b.mean(&squares, dims, true);
    let shifted = b.with_number(Add, &variance, eps);
    let scale = b.unary(Unary::Rsqrt, &shifted);
    b.mul(&centered, &scale)
}

/// Applies the weight and the bias of each channel, the operands at the positions 1 and 2.
fn affine_channels(b: &mut Builder, x: &Value, operands: &Operands<'_>) -> Value {
    let mut y = x.clone();
    if let Some(weight) = operands.optional(1) {
        let weight = b.broadcast_in_dim(weight, vec![1], &x.dims);
        y = b.mul(&y, &weight);
    }
    if let Some(bias) = operands.optional(2) {
        let bias = b.broadcast_in_dim(bias, vec![1], &x.dims);
        y = b.add(&y, &bias);
    }
    y
}
