//! Attention.

use candle_core::{DType, Device};

use crate::Result;
use crate::ops::causal_mask;

use super::super::builder::{Builder, Value};
use super::super::proto::{Attribute, BOOL, data_type};
use super::super::symbolic::Size;
use super::Operands;

/// Attention with optional masks.
pub(super) fn attention(
    b: &mut Builder,
    operands: &Operands<'_>,
    scale: f64,
    causal_offset: Option<usize>,
) -> Result<String> {
    let [query, key, value] = [0, 1, 2].map(|i| operands.required(i));
    let (query, key, value) = (query?, key?, value?);
    let mask = match (operands.optional(3), causal_offset) {
        (Some(mask), _) => Some(additive(b, mask, query.dtype)?),
        (None, Some(offset)) => {
            let [queries, keys] = [&query, &key].map(|x| x.dims[x.rank() - 2]);
            let hides_keys = keys.number().is_none_or(|keys| offset.saturating_add(1) < keys);
            hides_keys.then(|| causal(b, [queries, keys], offset, query.dtype)).transpose()?
        }
        (None, None) => None,
    };
    let can_hide_all = operands.optional(3).is_some();
    Ok(attend(b, [&query, &key, &value], scale, (mask, can_hide_all))?.0)
}

/// Returns the names of `weights · value` and of the weights, `softmax(scale · query · keyᵀ + mask)`. A query all of
/// whose keys are hidden has the weight 0 for each. `can_hide_all` says whether there can be such a query.
pub(super) fn attend(
    b: &mut Builder,
    [query, key, value]: [&Value; 3],
    scale: f64,
    (mask, can_hide_all): (Option<String>, bool),
) -> Result<(String, String)> {
    let factor = b.number(scale, query.dtype)?;
    let scaled = b.op("Mul", &[&query.name, &factor]);
    let mut order: Vec<usize> = (0..key.rank()).collect();
    order.swap(key.rank() - 2, key.rank() - 1);
    let transposed = b.transpose(key, &order);
    let mut scores = b.op("MatMul", &[scaled, transposed.name]);
    if let Some(mask) = mask {
        scores = b.op("Add", &[scores, mask]);
    }
    let mut weights = b.op_with("Softmax", &[scores], vec![Attribute::int("axis", -1)]);
    if can_hide_all {
        let is_undefined = b.op("IsNaN", &[&weights]);
        let zero = b.number(0., query.dtype)?;
        weights = b.op("Where", &[is_undefined, zero, weights]);
    }
    Ok((b.op("MatMul", &[&weights, &value.name]), weights))
}

/// Returns the causal mask `[queries, keys]` that is added to the scores: query `i` reads the keys up to `i + offset`.
pub(super) fn causal(
    b: &mut Builder,
    [queries, keys]: [Size; 2],
    offset: usize,
    dtype: DType,
) -> Result<String> {
    if let (Some(queries), Some(keys)) = (queries.number(), keys.number()) {
        return b.tensor(&causal_mask([queries, keys], offset, dtype, &Device::Cpu)?);
    }
    let key = b.range(keys)?;
    let query = b.range(queries)?;
    let offset = b.ints(&[i64::try_from(offset).unwrap_or(i64::MAX)])?;
    let last = b.op("Add", &[query, offset]);
    let axis = b.ints(&[1])?;
    let last = b.op("Unsqueeze", &[last, axis]);
    let is_visible = b.op("LessOrEqual", &[key, last]);
    let (visible, hidden) = (b.number(0., dtype)?, b.number(f64::NEG_INFINITY, dtype)?);
    Ok(b.op("Where", &[is_visible, visible, hidden]))
}

/// Returns the mask that is added to the scores. A mask of u8 is 0 for hidden keys.
fn additive(b: &mut Builder, mask: &Value, dtype: DType) -> Result<String> {
    if mask.dtype != DType::U8 {
        return Ok(to_dtype(b, mask, dtype)?.name);
    }
    let is_visible = b.cast(&mask.name, BOOL);
    let (visible, hidden) = (b.number(0., dtype)?, b.number(f64::NEG_INFINITY, dtype)?);
    Ok(b.op("Where", &[is_visible, visible, hidden]))
}

/// Converts a value to a dtype.
pub(super) fn to_dtype(b: &mut Builder, x: &Value, dtype: DType) -> Result<Value> {
    if x.dtype == dtype {
        return Ok(x.clone());
    }
    Ok(Value { name: b.cast(&x.name, data_type(dtype)?.into()), dims: x.dims.clone(), dtype })
}
