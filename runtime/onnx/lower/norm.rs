//! Normalization.

use candle_core::{Device, Tensor};

use crate::Result;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::Operands;

pub(super) fn batch_norm(b: &mut Builder, operands: &Operands<'_>, eps: f64) -> Result<String> {
    let (x, mean, variance) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let weight = or_filled(b, operands.optional(3), &mean, 1.)?;
    let bias = or_filled(b, operands.optional(4), &mean, 0.)?;
    let inputs = [x.name, weight, bias, mean.name, variance.name];
    Ok(b.op_with("BatchNormalization", &inputs, vec![Attribute::float("epsilon", eps)]))
}

pub(super) fn instance_norm(b: &mut Builder, operands: &Operands<'_>, eps: f64) -> Result<String> {
    let x = operands.required(0)?;
    let channels = Value { dims: vec![x.dims[1]], ..x.clone() };
    let weight = or_filled(b, operands.optional(1), &channels, 1.)?;
    let bias = or_filled(b, operands.optional(2), &channels, 0.)?;
    let epsilon = vec![Attribute::float("epsilon", eps)];
    Ok(b.op_with("InstanceNormalization", &[x.name, weight, bias], epsilon))
}

pub(super) fn layer_norm(b: &mut Builder, operands: &Operands<'_>, dims: usize, eps: f64) -> Result<String> {
    let x = operands.required(0)?;
    let normalized = Value { dims: x.dims[x.rank() - dims..].to_vec(), ..x.clone() };
    let weight = or_filled(b, operands.optional(1), &normalized, 1.)?;
    let bias = operands.optional(2).map(|bias| bias.name.clone());
    let inputs: Vec<String> = [x.name, weight].into_iter().chain(bias).collect();
    let attributes = vec![Attribute::int("axis", -(dims as i64)), Attribute::float("epsilon", eps)];
    Ok(b.op_with("LayerNormalization", &inputs, attributes))
}

/// `x / sqrt(mean(x²) + eps) · weight`
pub(super) fn rms_norm(b: &mut Builder, operands: &Operands<'_>, dims: usize, eps: f64) -> Result<String> {
    let x = operands.required(0)?;
    let squares = b.op("Mul", &[&x.name, &x.name]);
    let axes = Attribute::ints("axes", (1..=dims).rev().map(|dim| -(dim as i64)).collect());
    let mean = b.op_with("ReduceMean", &[squares], vec![axes, Attribute::int("keepdims", 1)]);
    let eps = b.number(eps, x.dtype)?;
    let shifted = b.op("Add", &[mean, eps]);
    let root = b.op("Sqrt", &[shifted]);
    let y = b.op("Div", &[x.name, root]);
    Ok(match operands.optional(1) {
        Some(weight) => b.op("Mul", &[y, weight.name.clone()]),
        None => y,
    })
}

/// Normalizes each group as one channel of an instance norm, then applies the weight and the bias of each channel.
pub(super) fn group_norm(
    b: &mut Builder,
    operands: &Operands<'_>,
    groups: usize,
    eps: f64,
) -> Result<String> {
    let x = operands.required(0)?;
    let shape = b.ints(&[0, groups as i64, -1])?;
    let grouped = b.op("Reshape", &[x.name.clone(), shape]);
    let channels = Value { dims: vec![Size::constant(groups)], ..x.clone() };
    let ones = or_filled(b, None, &channels, 1.)?;
    let zeros = or_filled(b, None, &channels, 0.)?;
    let epsilon = vec![Attribute::float("epsilon", eps)];
    let normalized = b.op_with("InstanceNormalization", &[grouped, ones, zeros], epsilon);
    let shape = b.sizes(&x.dims)?;
    let mut y = b.op("Reshape", &[normalized, shape]);
    let spatial: Vec<usize> = (1..x.rank() - 1).collect();
    for (op, parameter) in [("Mul", operands.optional(1)), ("Add", operands.optional(2))] {
        if let Some(parameter) = parameter {
            let parameter = b.unsqueeze(parameter, &spatial)?;
            y = b.op(op, &[y, parameter.name]);
        }
    }
    Ok(y)
}

/// Returns the name of a parameter, or of a constant of the shape and the dtype of `like`.
fn or_filled(b: &mut Builder, parameter: Option<&Value>, like: &Value, number: f64) -> Result<String> {
    match parameter {
        Some(parameter) => Ok(parameter.name.clone()),
        None => {
            let filled = Tensor::full(number, like.known_sizes(0)?, &Device::Cpu)?.to_dtype(like.dtype)?;
            b.tensor(&filled)
        }
    }
}
