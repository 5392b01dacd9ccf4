//! Multi-head attention.

use crate::Result;
use crate::graph::MultiheadAttention;

use super::super::builder::Builder;
use super::super::ir::{Direction, Value};
use super::{Operands, arithmetic, attention, pad};

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
) -> Result<Vec<Value>> {
    let batched = operands.required(0)?.rank() == 3;
    let query = project(b, operands, op, 0)?;
    let [key, value] = [0, 1].map(|i| {
        let projected = project(b, operands, op, 1 + i)?;
        Ok::<_, crate::Error>(append_keys(b, operands, op, projected, i))
    });
    let [query, key, value] = [query, key?, value?].map(|x| b.swap(&x, 1, 2));
    let mask = mask(b, operands, op, &query, &key)?;
    let scale = 1. / (query.dims[3].max(1) as f64).sqrt();
    let can_hide_all = operands.optional(PADDING).is_some() || operands.optional(MASK).is_some();
    let (output, weights) = attention::attend(b, [&query, &key, &value], scale, (mask, can_hide_all));
    let output = b.swap(&output, 1, 2);
    let joined = b.reshape(&output, &[output.dims[0], output.dims[1], output.dims[2] * output.dims[3]]);
    let output =
        arithmetic::project(b, &joined, &operands.required(OUT_WEIGHT)?, operands.optional(OUT_BIAS));
    let weights = if op.averages_weights { b.mean(&weights, &[1], false) } else { weights };
    Ok(match (batched, op.batch_first) {
        (true, true) => vec![output, weights],
        (true, false) => vec![b.swap(&output, 0, 1), weights],
        (false, _) => vec![b.squeeze(&output, &[0]), b.squeeze(&weights, &[0])],
    })
}

/// Returns the projected query, key or value, `[batch, length, heads, features]`.
fn project(b: &mut Builder, operands: &Operands<'_>, op: &MultiheadAttention, i: usize) -> Result<Value> {
    let x = operands.required(i)?;
    let x = match (x.rank(), op.batch_first) {
        (2, _) => b.unsqueeze(&x, &[0]),
        (_, true) => x,
        (_, false) => b.swap(&x, 0, 1),
    };
    let width = operands.required(OUT_WEIGHT)?.dims[0];
    let rows = i * width..(i + 1) * width;
    let weight = match operands.optional(WEIGHTS + 1) {
        Some(_) => operands.required(WEIGHTS + i)?,
        None => b.slice(&operands.required(WEIGHTS)?, 0, rows.clone(), 1),
    };
    let bias = operands.optional(IN_BIAS).map(|bias| b.slice(bias, 0, rows, 1));
    let projected = arithmetic::project(b, &x, &weight, bias.as_ref());
    Ok(b.reshape(&projected, &[x.dims[0], x.dims[1], op.heads, width / op.heads]))
}

/// Appends the learned key or value (`which` is 0 or 1) and the one of zeros.
fn append_keys(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &MultiheadAttention,
    x: Value,
    which: usize,
) -> Value {
    let [batch, _, heads, features] = x.dims[..] else { return x };
    let element = x.element;
    let mut parts = vec![x];
    if let Some(bias) = operands.optional(KEY_VALUE_BIASES + which) {
        let key = b.reshape(bias, &[1, 1, heads, features]);
        parts.push(b.broadcast(&key, &[batch, 1, heads, features]));
    }
    if op.adds_zeros {
        parts.push(b.full(0., &[batch, 1, heads, features], element));
    }
    b.concat(&parts, 1)
}

/// Returns the sum of the masks, which broadcasts to the scores `[batch, heads, queries, keys]`.
fn mask(
    b: &mut Builder,
    operands: &Operands<'_>,
    op: &MultiheadAttention,
    query: &Value,
    key: &Value,
) -> Result<Option<Value>> {
    let extra = usize::from(op.adds_zeros) + usize::from(operands.optional(KEY_VALUE_BIASES).is_some());
    let keys = key.dims[2] - extra;
    let (batch, queries) = (query.dims[0], query.dims[2]);
    let mut masks = Vec::new();
    if let Some(padding) = operands.optional(PADDING) {
        let additive = attention::additive(b, padding, Direction::Ne, query.element);
        masks.push(b.reshape(&additive, &[batch, 1, 1, keys]));
    }
    if let Some(mask) = operands.optional(MASK) {
        let additive = attention::additive(b, mask, Direction::Ne, query.element);
        let leading = if mask.rank() == 2 { [1, 1] } else { [batch, op.heads] };
        masks.push(b.reshape(&additive, &[leading[0], leading[1], queries, keys]));
    }
    if op.is_causal {
        masks.push(attention::causal(b, [queries, keys], 0, query.element)?);
    }
    let sum = masks.into_iter().reduce(|a, mask| b.add(&a, &mask));
    // The appended keys are visible.
    Ok(sum.map(|sum| pad::pad_with(b, &sum, &[[0, extra as i64]], 0.)))
}
