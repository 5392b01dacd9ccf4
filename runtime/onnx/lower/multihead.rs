//! Multi-head attention.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::graph::MultiheadAttention;

use super::super::builder::{Builder, Value};
use super::super::proto::{Attribute, BOOL};
use super::super::symbolic::Size;
use super::{Operands, arithmetic, attention};

/// The positions of operands.
const PADDING: usize = 3;
const MASK: usize = 4;
const WEIGHTS: usize = 5;
const IN_BIAS: usize = 8;
const KEY_VALUE_BIASES: usize = 9;
const OUT_WEIGHT: usize = 11;
const OUT_BIAS: usize = 12;

/// Returns the output and the attention weights.
pub(super) fn multihead_attention(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &MultiheadAttention,
) -> Result<Vec<String>> {
    let first = operands.required(0)?;
    let projected = [0, 1, 2].map(|i| project(b, operands, op, i));
    let [query, key, value] = projected;
    let (query, key, value) =
        (query?, append_keys(b, operands, op, key?, 0)?, append_keys(b, operands, op, value?, 1)?);
    let [query, key, value] = [query, key, value].map(|x| b.transpose(&x, &[0, 2, 1, 3]));
    let mask = mask(b, operands, op, &query, &key)?;
    let features = query.dims[3].known()?;
    let scale = 1. / (features.max(1) as f64).sqrt();
    let can_hide_all = operands.optional(PADDING).is_some() || operands.optional(MASK).is_some();
    let (output, weights) = attention::attend(b, [&query, &key, &value], scale, (mask, can_hide_all))?;
    let output = Value { name: output, ..query };
    let output = b.transpose(&output, &[0, 2, 1, 3]);
    let [batch, length, heads, features] = output.dims[..] else { return Ok(vec![output.name, weights]) };
    let joined = b.reshape(&output, &[batch, length, times(heads, features)?])?;
    let out_weight = operands.required(OUT_WEIGHT)?;
    let output = arithmetic::project(b, &joined, &out_weight, operands.optional(OUT_BIAS))?;
    let output = Value { name: output, ..joined };
    let weights = if op.averages_weights { arithmetic::mean(b, &weights, &[1], false) } else { weights };
    Ok(match (first.rank(), op.batch_first) {
        (3, true) => vec![output.name, weights],
        (3, false) => vec![b.transpose(&output, &[1, 0, 2]).name, weights],
        _ => {
            let zero = b.ints(&[0])?;
            vec![b.op("Squeeze", &[output.name, zero.clone()]), b.op("Squeeze", &[weights, zero])]
        }
    })
}

/// Returns the projected query, key or value, `[batch, length, heads, features]`.
fn project(b: &mut Builder, operands: &Operands<'_>, op: &MultiheadAttention, i: usize) -> Result<Value> {
    let x = operands.required(i)?;
    let x = match (x.rank(), op.batch_first) {
        (2, _) => b.unsqueeze(&x, &[0])?,
        (_, true) => x,
        (_, false) => b.transpose(&x, &[1, 0, 2]),
    };
    let width = operands.required(OUT_WEIGHT)?.dims[0];
    let weight = match operands.optional(WEIGHTS + 1) {
        Some(_) => operands.required(WEIGHTS + i)?,
        None => part(b, &operands.required(WEIGHTS)?, i, width)?,
    };
    let bias = operands.optional(IN_BIAS).cloned().map(|bias| part(b, &bias, i, width)).transpose()?;
    let projected = arithmetic::project(b, &x, &weight, bias.as_ref())?;
    let projected = Value { name: projected, dims: vec![x.dims[0], x.dims[1], width], dtype: x.dtype };
    let heads = Size::constant(op.heads);
    let features = Size::constant(width.known()? / op.heads);
    b.reshape(&projected, &[x.dims[0], x.dims[1], heads, features])
}

/// Returns the rows of the query, the key or the value in a parameter for all of them.
fn part(b: &mut Builder, parameter: &Value, i: usize, width: Size) -> Result<Value> {
    let rows = width.known()? as i64;
    let name = b.slice(&parameter.name, 0, i as i64 * rows, (i as i64 + 1) * rows)?;
    let mut dims = parameter.dims.clone();
    dims[0] = width;
    Ok(Value { name, dims, dtype: parameter.dtype })
}

/// Appends the learned key or value (`which` is 0 or 1) and the one of zeros.
fn append_keys(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &MultiheadAttention,
    x: Value,
    which: usize,
) -> Result<Value> {
    let one = Size::constant(1);
    let [batch, length, heads, features] = x.dims[..] else { return Ok(x) };
    let mut extra = Vec::new();
    if let Some(bias) = operands.optional(KEY_VALUE_BIASES + which) {
        extra.push(b.reshape(bias, &[one, one, heads, features])?);
    }
    if op.adds_zeros {
        let shape = (1, 1, heads.known()?, features.known()?);
        extra.push(b.constant(&Tensor::zeros(shape, x.dtype, &Device::Cpu)?)?);
    }
    let mut parts = vec![x.name.clone()];
    for key in &extra {
        let shape = b.sizes(&[batch, one, heads, features])?;
        parts.push(b.op("Expand", &[&key.name, &shape]));
    }
    if parts.len() == 1 {
        return Ok(x);
    }
    let name = b.op_with("Concat", &parts, vec![Attribute::int("axis", 1)]);
    let length = length.plus(extra.len() as i64);
    Ok(Value { name, dims: vec![batch, length, heads, features], dtype: x.dtype })
}

/// Returns the sum of the masks, which broadcasts to the scores `[batch, heads, queries, keys]`.
fn mask(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &MultiheadAttention,
    query: &Value,
    key: &Value,
) -> Result<Option<String>> {
    let one = Size::constant(1);
    let extra = usize::from(op.adds_zeros) + usize::from(operands.optional(KEY_VALUE_BIASES).is_some());
    let keys = key.dims[2].plus(-(extra as i64));
    let (batch, queries) = (query.dims[0], query.dims[2]);
    let mut masks = Vec::new();
    if let Some(padding) = operands.optional(PADDING).cloned() {
        let additive = additive(b, &padding, query.dtype)?;
        masks.push(b.reshape(&additive, &[batch, one, one, keys])?);
    }
    if let Some(mask) = operands.optional(MASK).cloned() {
        let additive = additive(b, &mask, query.dtype)?;
        let leading = if mask.rank() == 2 { [one, one] } else { [batch, Size::constant(op.heads)] };
        masks.push(b.reshape(&additive, &[leading[0], leading[1], queries, keys])?);
    }
    if op.is_causal {
        let name = attention::causal(b, [queries, keys], 0, query.dtype)?;
        masks.push(Value { name, dims: vec![queries, keys], dtype: query.dtype });
    }
    let Some(sum) = masks.into_iter().map(|mask| mask.name).reduce(|a, mask| b.op("Add", &[a, mask])) else {
        return Ok(None);
    };
    if extra == 0 {
        return Ok(Some(sum));
    }
    // The last dimension of every mask, whatever its rank is, has the keys. A causal mask alone has two dimensions.
    let rank =
        if op.is_causal && operands.optional(PADDING).or(operands.optional(MASK)).is_none() { 2 } else { 4 };
    let mut pads = vec![0; 2 * rank];
    pads[2 * rank - 1] = extra as i64;
    let (pads, zero) = (b.ints(&pads)?, b.number(0., query.dtype)?);
    Ok(Some(b.op_with("Pad", &[sum, pads, zero], vec![Attribute::string("mode", "constant")])))
}

/// Returns the mask that is added to the scores. A mask of u8 is not 0 for hidden keys.
fn additive(b: &mut Builder, mask: &Value, dtype: DType) -> Result<Value> {
    if mask.dtype != DType::U8 {
        return attention::to_dtype(b, mask, dtype);
    }
    let is_hidden = b.cast(&mask.name, BOOL);
    let (hidden, visible) = (b.number(f64::NEG_INFINITY, dtype)?, b.number(0., dtype)?);
    Ok(Value { name: b.op("Where", &[is_hidden, hidden, visible]), dims: mask.dims.clone(), dtype })
}

fn times(a: Size, b: Size) -> Result<Size> {
    Ok(Size::constant(a.known()? * b.known()?))
}
