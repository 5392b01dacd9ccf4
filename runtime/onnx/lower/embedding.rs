//! Embeddings that are combined in bags.

use crate::Result;
use crate::kernels::embedding::BagMode;

use super::super::builder::{Builder, Value};
use super::super::proto::{Attribute, data_type};
use super::{Operands, arithmetic, shape};

/// Combines the embeddings of each row of ids. The row `padding` of the weight is left out; a bag without other ids
/// gives zeros.
pub(super) fn embedding_bag(
    b: &mut Builder,
    operands: &Operands<'_>,
    mode: BagMode,
    padding: Option<usize>,
) -> Result<String> {
    let (ids, weight) = (operands.required(0)?, operands.required(2)?);
    let rows = shape::gather(b, &weight, &ids, 0)?;
    let Some(padding) = padding else {
        return Ok(match mode {
            BagMode::Sum => {
                let weighted = weighted(b, operands, rows)?;
                arithmetic::sum(b, &weighted, &[1], false)?
            }
            BagMode::Mean => arithmetic::mean(b, &rows, &[1], false),
            BagMode::Max => maximum(b, &rows),
        });
    };
    let padding = b.number(padding as f64, ids.dtype)?;
    let is_padding = b.op("Equal", &[&ids.name, &padding]);
    let last = b.ints(&[-1])?;
    let is_padding = b.op("Unsqueeze", &[is_padding, last]);
    let is_counted = b.op("Not", &[&is_padding]);
    let counted = b.cast(&is_counted, data_type(weight.dtype)?.into());
    let count = arithmetic::sum(b, &counted, &[1], false)?;
    let zero = b.number(0., weight.dtype)?;
    if mode == BagMode::Max {
        let lowest = b.number(f64::NEG_INFINITY, weight.dtype)?;
        let rows = b.op("Where", &[is_padding, lowest, rows]);
        let maximum = maximum(b, &rows);
        let has_rows = b.op("Greater", &[&count, &zero]);
        return Ok(b.op("Where", &[has_rows, maximum, zero]));
    }
    let rows = b.op("Where", &[is_padding, zero, rows]);
    let weighted = weighted(b, operands, rows)?;
    let sum = arithmetic::sum(b, &weighted, &[1], false)?;
    if mode == BagMode::Sum {
        return Ok(sum);
    }
    let one = b.number(1., weight.dtype)?;
    let count = b.op("Max", &[count, one]);
    Ok(b.op("Div", &[sum, count]))
}

/// Multiplies each embedding by its factor, if there are factors.
fn weighted(b: &mut Builder, operands: &Operands<'_>, rows: String) -> Result<String> {
    let Some(factors) = operands.optional(1).cloned() else { return Ok(rows) };
    let factors: Value = b.unsqueeze(&factors, &[factors.rank()])?;
    Ok(b.op("Mul", &[rows, factors.name]))
}

fn maximum(b: &mut Builder, rows: &str) -> String {
    let axes = Attribute::ints("axes", vec![1]);
    b.op_with("ReduceMax", &[rows], vec![axes, Attribute::int("keepdims", 0)])
}
