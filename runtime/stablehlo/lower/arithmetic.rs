//! Arithmetic, comparisons, linear maps and reductions.

use crate::Result;
use crate::graph::{Comparison, Reduction};
use crate::kernels::arithmetic::{Binary, Unary};

use super::super::builder::Builder;
use super::super::ir::Binary::{Add, Divide, Multiply, Power};
use super::super::ir::{self, Direction, Element, Value};
use super::Operands;

/// `x · weightᵀ + bias`, for an `x` of any rank.
pub(super) fn project(b: &mut Builder, x: &Value, weight: &Value, bias: Option<&Value>) -> Value {
    let product = b.dot(x, weight, [Vec::new(), Vec::new()], [vec![x.rank() - 1], vec![1]]);
    match bias {
        Some(bias) => b.add(&product, bias),
        None => product,
    }
}

pub(super) fn unary(b: &mut Builder, x: &Value, op: Unary) -> Value {
    match op {
        Unary::Neg => b.unary(ir::Unary::Negate, x),
        Unary::Abs => b.unary(ir::Unary::Abs, x),
        Unary::Sqr => b.mul(x, x),
        Unary::Sqrt => b.unary(ir::Unary::Sqrt, x),
        Unary::Exp => b.unary(ir::Unary::Exponential, x),
        Unary::Log => b.unary(ir::Unary::Log, x),
        Unary::Affine { factor, offset } => {
            let scaled = if factor == 1. { x.clone() } else { b.with_number(Multiply, x, factor) };
            if offset == 0. { scaled } else { b.with_number(Add, &scaled, offset) }
        }
        Unary::Quotient { numerator } => {
            let numerator = b.scalar(numerator, x.element);
            b.div(&numerator, x)
        }
        Unary::Powf { exponent } => b.with_number(Power, x, exponent),
        Unary::Clamp { min, max } => b.clamp(x, min, max),
    }
}

pub(super) fn binary(b: &mut Builder, op: Binary, x: &Value, y: &Value) -> Value {
    match op {
        Binary::Add => b.add(x, y),
        Binary::Sub => b.sub(x, y),
        Binary::Mul => b.mul(x, y),
        Binary::Div => b.div(x, y),
    }
}

pub(super) fn compare(b: &mut Builder, comparison: Comparison, x: &Value, y: &Value) -> Value {
    let direction = match comparison {
        Comparison::Eq => Direction::Eq,
        Comparison::Ne => Direction::Ne,
        Comparison::Lt => Direction::Lt,
        Comparison::Le => Direction::Le,
        Comparison::Gt => Direction::Gt,
        Comparison::Ge => Direction::Ge,
    };
    let result = b.compare(direction, x, y);
    b.convert(&result, Element::U8)
}

pub(super) fn select(b: &mut Builder, operands: &Operands<'_>) -> Result<Value> {
    let condition = b.compare_number(Direction::Ne, &operands.required(0)?, 0.);
    Ok(b.select(&condition, &operands.required(1)?, &operands.required(2)?))
}

pub(super) fn reduce(
    b: &mut Builder,
    x: &Value,
    reduction: Reduction,
    dims: &[usize],
    keep_dims: bool,
) -> Value {
    match reduction {
        Reduction::Sum => b.sum(x, dims, keep_dims),
        Reduction::Mean => b.mean(x, dims, keep_dims),
        Reduction::Variance { correction } => variance(b, x, dims, keep_dims, correction),
        Reduction::StandardDeviation => {
            let variance = variance(b, x, dims, keep_dims, 1.);
            b.unary(ir::Unary::Sqrt, &variance)
        }
    }
}

fn variance(b: &mut Builder, x: &Value, dims: &[usize], keep_dims: bool, correction: f64) -> Value {
    let count: usize = dims.iter().map(|dim| x.dims[*dim]).product();
    let mean = b.mean(x, dims, true);
    let difference = b.sub(x, &mean);
    let squares = b.mul(&difference, &difference);
    let sum = b.sum(&squares, dims, keep_dims);
    b.with_number(Divide, &sum, (count as f64 - correction).max(0.))
}
