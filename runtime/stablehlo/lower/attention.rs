//! Attention.

use candle_core::Device;

use crate::Result;
use crate::ops::causal_mask;

use super::super::builder::Builder;
use super::super::ir::Binary::Multiply;
use super::super::ir::{Direction, Element, Value};
use super::{Operands, activation};

/// Attention with optional masks.
pub(super) fn attention(
    b: &mut Builder,
    operands: &Operands<'_>,
    scale: f64,
    causal_offset: Option<usize>,
) -> Result<Value> {
    let (query, key, value) = (operands.required(0)?, operands.required(1)?, operands.required(2)?);
    let mask = match (operands.optional(3), causal_offset) {
        (Some(mask), _) => Some(additive(b, mask, Direction::Eq, query.element)),
        (None, Some(offset)) => {
            let sizes = [&query, &key].map(|x| x.dims[x.rank() - 2]);
            let hides_keys = offset.saturating_add(1) < sizes[1];
            hides_keys.then(|| causal(b, sizes, offset, query.element)).transpose()?
        }
        (None, None) => None,
    };
    let can_hide_all = operands.optional(3).is_some();
    Ok(attend(b, [&query, &key, &value], scale, (mask, can_hide_all)).0)
}

/// Returns `weights · value` and the weights, `softmax(scale · query · keyᵀ + mask)`. A query all of whose keys are
/// hidden has the weight 0 for each. `can_hide_all` says whether there can be such a query.
pub(super) fn attend(
    b: &mut Builder,
    [query, key, value]: [&Value; 3],
    scale: f64,
    (mask, can_hide_all): (Option<Value>, bool),
) -> (Value, Value) {
    let scaled = b.with_number(Multiply, query, scale);
    let transposed = b.swap(key, key.rank() - 2, key.rank() - 1);
    let mut scores = b.matmul(&scaled, &transposed);
    if let Some(mask) = mask {
        scores = b.add(&scores, &mask);
    }
    let last = scores.rank() - 1;
    let weights = if can_hide_all {
        activation::masked_softmax(b, &scores, last)
    } else {
        activation::softmax(b, &scores, last)
    };
    (b.matmul(&weights, value), weights)
}

/// Returns the causal mask `[queries, keys]` that is added to the scores: query `i` reads the keys up to `i + offset`.
pub(super) fn causal(b: &mut Builder, sizes: [usize; 2], offset: usize, element: Element) -> Result<Value> {
    let mask = causal_mask(sizes, offset, candle_core::DType::F32, &Device::Cpu)?;
    let mask = b.tensor(&mask)?;
    Ok(b.convert(&mask, element))
}

/// Returns the mask that is added to the scores. A mask of u8 hides the keys at which it compares with 0 like this.
pub(super) fn additive(b: &mut Builder, mask: &Value, hidden: Direction, element: Element) -> Value {
    if mask.element != Element::U8 {
        return b.convert(mask, element);
    }
    let is_hidden = b.compare_number(hidden, mask, 0.);
    let lowest = b.scalar(f64::NEG_INFINITY, element);
    let zero = b.scalar(0., element);
    b.select(&is_hidden, &lowest, &zero)
}
