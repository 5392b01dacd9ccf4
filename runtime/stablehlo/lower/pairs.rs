//! Maps and distances of pairs of vectors.

use crate::Result;

use super::super::builder::{Builder, broadcast_dims};
use super::super::ir::Binary::{Add, Maximum, Power};
use super::super::ir::{Unary, Value};
use super::Operands;

/// `x1 · weight · x2 + bias` for each output, with a weight `[out, in1, in2]`.
pub(super) fn bilinear(b: &mut Builder, operands: &Operands<'_>) -> Result<Value> {
    let (x1, x2, weight) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let last = x1.rank() - 1;
    // […, out, in2]
    let product = b.dot(&x1, &weight, [Vec::new(), Vec::new()], [vec![last], vec![1]]);
    let x2 = b.unsqueeze(&x2, &[x2.rank() - 1]);
    let products = b.mul(&product, &x2);
    let sum = b.sum(&products, &[products.rank() - 1], false);
    Ok(match operands.optional(3) {
        Some(bias) => b.add(&sum, bias),
        None => sum,
    })
}

/// The sum of the products of two directions. `dim` is a dimension of the shape to which both operands broadcast.
pub(super) fn cosine_similarity(
    b: &mut Builder,
    operands: &Operands<'_>,
    dim: usize,
    eps: f64,
) -> Result<Value> {
    let (x1, x2) = (operands.required(0)?, operands.required(1)?);
    let dims = broadcast_dims(&x1.dims, &x2.dims);
    let [first, second] = [x1, x2].map(|x| {
        let x = b.broadcast(&x, &dims);
        let squares = b.mul(&x, &x);
        let sum = b.sum(&squares, &[dim], true);
        let norm = b.unary(Unary::Sqrt, &sum);
        let norm = b.with_number(Maximum, &norm, eps);
        b.div(&x, &norm)
    });
    let products = b.mul(&first, &second);
    Ok(b.sum(&products, &[dim], false))
}

/// The p-norm of `x1 − x2 + eps` over the last dimension.
pub(super) fn pairwise_distance(
    b: &mut Builder,
    operands: &Operands<'_>,
    p: f64,
    eps: f64,
    keep_dim: bool,
) -> Result<Value> {
    let difference = b.sub(&operands.required(0)?, &operands.required(1)?);
    let shifted = b.with_number(Add, &difference, eps);
    let magnitudes = b.unary(Unary::Abs, &shifted);
    let last = [magnitudes.rank() - 1];
    if p.is_infinite() {
        return Ok(b.reduce(Maximum, &magnitudes, &last, keep_dim));
    }
    let powers = b.with_number(Power, &magnitudes, p);
    let sum = b.sum(&powers, &last, keep_dim);
    Ok(b.with_number(Power, &sum, 1. / p))
}
