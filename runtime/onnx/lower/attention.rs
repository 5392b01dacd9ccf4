//! Attention.

use candle_core::{DType, Device};

use crate::Result;
use crate::ops::causal_mask;

use super::super::builder::{Builder, Value};
use super::super::proto::BOOL;
use super::{Operands, activation};

/// `softmax(scale · query · keyᵀ + mask) · value`
pub(super) fn attention(
    b: &mut Builder,
    operands: &Operands<'_>,
    scale: f64,
    causal_offset: Option<usize>,
) -> Result<String> {
    let (query, key, value) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let factor = b.number(scale, query.dtype)?;
    let scaled = b.op("Mul", &[&query.name, &factor]);
    let mut order: Vec<usize> = (0..key.rank()).collect();
    order.swap(key.rank() - 2, key.rank() - 1);
    let transposed = b.transpose(&key, &order);
    let scores = b.op("MatMul", &[scaled, transposed.name]);
    let lengths = [&query, &key].map(|x| x.dims[x.rank() - 2]);
    let mask = match (operands.optional(3), causal_offset) {
        (Some(mask), _) => Some(additive(b, mask, query.dtype)?),
        (None, Some(offset)) => {
            let [queries, keys] = [lengths[0].known()?, lengths[1].known()?];
            let hides_keys = offset.saturating_add(1) < keys;
            let mask = || causal_mask([queries, keys], offset, query.dtype, &Device::Cpu);
            hides_keys.then(mask).transpose()?.map(|mask| b.tensor(&mask)).transpose()?
        }
        (None, None) => None,
    };
    let rank = query.rank().max(key.rank());
    let weights = weights(b, scores, mask, rank, query.dtype, operands.optional(3).is_some())?;
    Ok(b.op("MatMul", &[weights, value.name]))
}

/// The softmax of the masked scores. A query all of whose keys are hidden has the weight 0 for each.
pub(super) fn weights(
    b: &mut Builder,
    scores: String,
    mask: Option<String>,
    rank: usize,
    dtype: DType,
    can_hide_all: bool,
) -> Result<String> {
    let name = match mask {
        Some(mask) => b.op("Add", &[scores, mask]),
        None => scores,
    };
    let masked = Value { name, dims: Vec::new(), dtype };
    let weights = activation::softmax(b, "Softmax", &masked, rank - 1);
    if !can_hide_all {
        return Ok(weights);
    }
    let is_undefined = b.op("IsNaN", &[&weights]);
    let zero = b.number(0., dtype)?;
    Ok(b.op("Where", &[is_undefined, zero, weights]))
}

/// Returns the mask that is added to the scores. A mask of u8 is 0 for hidden keys.
fn additive(b: &mut Builder, mask: &Value, dtype: DType) -> Result<String> {
    if mask.dtype != DType::U8 {
        return if mask.dtype == dtype {
            Ok(mask.name.clone())
        } else {
            Ok(b.cast(&mask.name, super::super::proto::data_type(dtype)?.into()))
        };
    }
    let is_visible = b.cast(&mask.name, BOOL);
    let (visible, hidden) = (b.number(0., dtype)?, b.number(f64::NEG_INFINITY, dtype)?);
    Ok(b.op("Where", &[is_visible, visible, hidden]))
}
