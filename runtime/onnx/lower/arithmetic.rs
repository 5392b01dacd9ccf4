//! Arithmetic, comparisons, linear maps and reductions.

use candle_core::DType;

use crate::Result;
use crate::graph::{Comparison, Reduction};
use crate::kernels::arithmetic::{Binary, Unary};

use super::super::builder::{Builder, Value};
use super::super::proto::{Attribute, BOOL, data_type};
use super::Operands;

/// `x · weightᵀ + bias`
pub(super) fn linear(b: &mut Builder, operands: &Operands<'_>) -> Result<String> {
    let (x, weight) = (operands.required(0)?, operands.required(1)?);
    if x.rank() == 2 {
        let bias = operands.optional(2).map(|bias| bias.name.clone());
        let inputs: Vec<String> = [x.name, weight.name].into_iter().chain(bias).collect();
        return Ok(b.op_with("Gemm", &inputs, vec![Attribute::int("transB", 1)]));
    }
    project(b, &x, &weight, operands.optional(2))
}

/// `x · weightᵀ + bias`, for an `x` of any rank.
pub(super) fn project(b: &mut Builder, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<String> {
    let transposed = b.transpose(weight, &[1, 0]);
    let product = b.op("MatMul", &[&x.name, &transposed.name]);
    Ok(match bias {
        Some(bias) => b.op("Add", &[&product, &bias.name]),
        None => product,
    })
}

pub(super) fn unary(b: &mut Builder, x: &Value, op: Unary) -> Result<String> {
    let name = x.name.as_str();
    Ok(match op {
        Unary::Neg => b.op("Neg", &[name]),
        Unary::Abs => b.op("Abs", &[name]),
        Unary::Sqr => b.op("Mul", &[name, name]),
        Unary::Sqrt => b.op("Sqrt", &[name]),
        Unary::Exp => b.op("Exp", &[name]),
        Unary::Log => b.op("Log", &[name]),
        Unary::Affine { factor, offset } => {
            let scaled = if factor == 1. { x.name.clone() } else { with_number(b, "Mul", x, name, factor)? };
            if offset == 0. { scaled } else { with_number(b, "Add", x, &scaled, offset)? }
        }
        Unary::Quotient { numerator } => {
            let numerator = b.number(numerator, x.dtype)?;
            b.op("Div", &[&numerator, name])
        }
        Unary::Powf { exponent } => with_number(b, "Pow", x, name, exponent)?,
        Unary::Clamp { min, max } => {
            let (min, max) = (b.number(min, x.dtype)?, b.number(max, x.dtype)?);
            b.op("Clip", &[name, &min, &max])
        }
    })
}

/// Combines `left` with a number of the dtype of `x`.
fn with_number(b: &mut Builder, op_type: &str, x: &Value, left: &str, number: f64) -> Result<String> {
    let number = b.number(number, x.dtype)?;
    Ok(b.op(op_type, &[left, &number]))
}

pub(super) fn binary(b: &mut Builder, op: Binary, x: &Value, y: &Value) -> String {
    let op_type = match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
    };
    b.op(op_type, &[&x.name, &y.name])
}

pub(super) fn compare(b: &mut Builder, comparison: Comparison, operands: &Operands<'_>) -> Result<String> {
    let inputs = [operands.required(0)?.name, operands.required(1)?.name];
    let result = match comparison {
        Comparison::Eq => b.op("Equal", &inputs),
        Comparison::Ne => {
            let equal = b.op("Equal", &inputs);
            b.op("Not", &[equal])
        }
        Comparison::Lt => b.op("Less", &inputs),
        Comparison::Le => b.op("LessOrEqual", &inputs),
        Comparison::Gt => b.op("Greater", &inputs),
        Comparison::Ge => b.op("GreaterOrEqual", &inputs),
    };
    Ok(b.cast(&result, data_type(DType::U8)?.into()))
}

pub(super) fn select(b: &mut Builder, operands: &Operands<'_>) -> Result<String> {
    let condition = b.cast(&operands.required(0)?.name, BOOL);
    Ok(b.op("Where", &[condition, operands.required(1)?.name, operands.required(2)?.name]))
}

pub(super) fn reduce(
    b: &mut Builder,
    x: &Value,
    reduction: Reduction,
    dims: &[usize],
    keep_dims: bool,
) -> Result<String> {
    match reduction {
        Reduction::Sum => sum(b, &x.name, dims, keep_dims),
        Reduction::Mean => Ok(mean(b, &x.name, dims, keep_dims)),
        Reduction::Variance { correction } => variance(b, x, dims, keep_dims, correction),
        Reduction::StandardDeviation => {
            let variance = variance(b, x, dims, keep_dims, 1.)?;
            Ok(b.op("Sqrt", &[variance]))
        }
    }
}

pub(super) fn sum(b: &mut Builder, x: &str, dims: &[usize], keep_dims: bool) -> Result<String> {
    let axes = b.ints(&dims.iter().map(|dim| *dim as i64).collect::<Vec<_>>())?;
    // Without dimensions, the result is the input.
    let attributes =
        vec![Attribute::int("keepdims", i64::from(keep_dims)), Attribute::int("noop_with_empty_axes", 1)];
    Ok(b.op_with("ReduceSum", &[x, &axes], attributes))
}

pub(super) fn mean(b: &mut Builder, x: &str, dims: &[usize], keep_dims: bool) -> String {
    if dims.is_empty() {
        return x.to_string();
    }
    let axes = Attribute::ints("axes", dims.iter().map(|dim| *dim as i64).collect());
    b.op_with("ReduceMean", &[x], vec![axes, Attribute::int("keepdims", i64::from(keep_dims))])
}

fn variance(b: &mut Builder, x: &Value, dims: &[usize], keep_dims: bool, correction: f64) -> Result<String> {
    let count = dims.iter().map(|dim| x.dims[*dim].known()).product::<Result<usize>>()?;
    let mean = mean(b, &x.name, dims, true);
    let difference = b.op("Sub", &[&x.name, &mean]);
    let squares = b.op("Mul", &[&difference, &difference]);
    let sum = sum(b, &squares, dims, keep_dims)?;
    let divisor = b.number((count as f64 - correction).max(0.), x.dtype)?;
    Ok(b.op("Div", &[sum, divisor]))
}
