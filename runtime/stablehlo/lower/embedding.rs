//! Embeddings that are combined in bags.

use crate::Result;
use crate::kernels::embedding::BagMode;

use super::super::builder::Builder;
use super::super::ir::Binary::Maximum;
use super::super::ir::{Direction, Value};
use super::Operands;

/// Combines the embeddings of each row of ids. The row `padding` of the weight is left out; a bag without other ids
/// gives zeros.
pub(super) fn embedding_bag(
    b: &mut Builder,
    operands: &Operands<'_>,
    mode: BagMode,
    padding: Option<usize>,
) -> Result<Value> {
    let (ids, weight) = (operands.required(0)?, operands.required(2)?);
    let rows = b.gather(&weight, &ids, 0);
    let Some(padding) = padding else {
        return Ok(match mode {
            BagMode::Sum => {
                let weighted = weighted(b, operands, rows);
                b.sum(&weighted, &[1], false)
            }
            BagMode::Mean => b.mean(&rows, &[1], false),
            BagMode::Max => b.reduce(Maximum, &rows, &[1], false),
        });
    };
    let is_counted = b.compare_number(Direction::Ne, &ids, padding as f64);
    let is_counted = b.unsqueeze(&is_counted, &[2]);
    let counted = b.convert(&is_counted, weight.element);
    let count = b.sum(&counted, &[1], false);
    let zero = b.scalar(0., weight.element);
    let is_counted = b.broadcast(&is_counted, &rows.dims);
    if mode == BagMode::Max {
        let lowest = b.scalar(f64::NEG_INFINITY, weight.element);
        let rows = b.select(&is_counted, &rows, &lowest);
        let maximum = b.reduce(Maximum, &rows, &[1], false);
        let has_rows = b.compare_number(Direction::Gt, &count, 0.);
        return Ok(b.select(&has_rows, &maximum, &zero));
    }
    let rows = b.select(&is_counted, &rows, &zero);
    let weighted = weighted(b, operands, rows);
    let sum = b.sum(&weighted, &[1], false);
    if mode == BagMode::Sum {
        return Ok(sum);
    }
    let count = b.with_number(Maximum, &count, 1.);
    Ok(b.div(&sum, &count))
}

/// Multiplies each embedding by its factor, if there are factors.
fn weighted(b: &mut Builder, operands: &Operands<'_>, rows: Value) -> Value {
    let Some(factors) = operands.optional(1) else { return rows };
    let factors = b.unsqueeze(factors, &[factors.rank()]);
    b.mul(&rows, &factors)
}
