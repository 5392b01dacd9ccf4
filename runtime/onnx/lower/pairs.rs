//! Maps and distances of pairs of vectors.

use crate::Result;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::{Operands, arithmetic};

/// `x1 · weight · x2 + bias` for each output, with a weight `[out, in1, in2]`.
pub(super) fn bilinear(b: &mut Builder, operands: &Operands<'_>) -> Result<String> {
    let (x1, x2, weight) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let [out, in1, in2] = weight.known_sizes(0)?.try_into().unwrap_or_default();
    let by_input = b.transpose(&weight, &[1, 0, 2]);
    let matrix = b.reshape(&by_input, &[Size::constant(in1), Size::constant(out * in2)])?;
    let leading = &x1.dims[..x1.rank() - 1];
    let product = Value {
        name: b.op("MatMul", &[x1.name.clone(), matrix.name]),
        dims: [leading, &[Size::constant(out * in2)]].concat(),
        dtype: x1.dtype,
    };
    let product = b.reshape(&product, &[leading, &[Size::constant(out), Size::constant(in2)]].concat())?;
    let x2 = b.unsqueeze(&x2, &[x2.rank() - 1])?;
    let products = b.op("Mul", &[product.name, x2.name]);
    let sum = arithmetic::sum(b, &products, &[x1.rank()], false)?;
    Ok(match operands.optional(3) {
        Some(bias) => b.op("Add", &[&sum, &bias.name]),
        None => sum,
    })
}

/// The sum of the products of two directions. `dim` is a dimension of the shape to which both operands broadcast.
pub(super) fn cosine_similarity(
    b: &mut Builder,
    operands: &Operands<'_>,
    dim: usize,
    eps: f64,
) -> Result<String> {
    let (x1, x2) = (operands.required(0)?, operands.required(1)?);
    let shape = broadcast(&x1.dims, &x2.dims);
    let mut directions = Vec::new();
    for x in [x1, x2] {
        let name = if x.dims == shape {
            x.name
        } else {
            let shape = b.sizes(&shape)?;
            b.op("Expand", &[x.name, shape])
        };
        let squares = b.op("Mul", &[&name, &name]);
        let sum = arithmetic::sum(b, &squares, &[dim], true)?;
        let norm = b.op("Sqrt", &[sum]);
        let eps = b.number(eps, x.dtype)?;
        let norm = b.op("Max", &[norm, eps]);
        directions.push(b.op("Div", &[name, norm]));
    }
    let products = b.op("Mul", &directions);
    arithmetic::sum(b, &products, &[dim], false)
}

/// Returns the shape to which two shapes broadcast.
fn broadcast(a: &[Size], b: &[Size]) -> Vec<Size> {
    let (longer, shorter) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let skipped = longer.len() - shorter.len();
    let mut shape = longer.to_vec();
    for (size, other) in shape[skipped..].iter_mut().zip(shorter) {
        if *size == Size::constant(1) {
            *size = *other;
        }
    }
    shape
}

/// The p-norm of `x1 − x2 + eps` over the last dimension.
pub(super) fn pairwise_distance(
    b: &mut Builder,
    operands: &Operands<'_>,
    p: f64,
    eps: f64,
    keep_dim: bool,
) -> Result<String> {
    let (x1, x2) = (operands.required(0)?, operands.required(1)?);
    let difference = b.op("Sub", &[x1.name, x2.name]);
    let eps = b.number(eps, x1.dtype)?;
    let shifted = b.op("Add", &[difference, eps]);
    let magnitudes = b.op("Abs", &[shifted]);
    let last = x1.dims.len().max(x2.dims.len()) - 1;
    if p.is_infinite() {
        let axes = Attribute::ints("axes", vec![last as i64]);
        let keep_dim = Attribute::int("keepdims", i64::from(keep_dim));
        return Ok(b.op_with("ReduceMax", &[magnitudes], vec![axes, keep_dim]));
    }
    let exponent = b.number(p, x1.dtype)?;
    let powers = b.op("Pow", &[magnitudes, exponent]);
    let sum = arithmetic::sum(b, &powers, &[last], keep_dim)?;
    let root = b.number(1. / p, x1.dtype)?;
    Ok(b.op("Pow", &[sum, root]))
}
