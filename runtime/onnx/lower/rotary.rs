//! Rotary position embedding.

use crate::Result;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::{Operands, attention};

/// Rotates the pairs of features by the angles of their position. Features without an angle stay the same.
pub(super) fn rotary(b: &mut Builder, operands: &Operands<'_>, interleaved: bool) -> Result<String> {
    let x = operands.required(0)?;
    let last = x.rank() - 1;
    let pairs = operands.required(1)?.dims.last().copied().unwrap_or(Size::constant(0)).known()? as i64;
    let [first, second] = if interleaved {
        [0, 1].map(|start| strided(b, &x, start, 2 * pairs, 2))
    } else {
        [0, pairs].map(|start| strided(b, &x, start, start + pairs, 1))
    };
    let (first, second) = (first?, second?);
    let [cos, sin] = [1, 2].map(|i| table(b, &operands.required(i)?, &x));
    let (cos, sin) = (cos?, sin?);
    let [first_cos, second_sin] = [b.op("Mul", &[&first, &cos]), b.op("Mul", &[&second, &sin])];
    let [first_sin, second_cos] = [b.op("Mul", &[&first, &sin]), b.op("Mul", &[&second, &cos])];
    let mut parts = vec![b.op("Sub", &[first_cos, second_sin]), b.op("Add", &[first_sin, second_cos])];
    let join =
        |b: &mut Builder, parts: &[String]| b.op_with("Concat", parts, vec![Attribute::int("axis", -1)]);
    if interleaved {
        let axis = b.ints(&[-1])?;
        let columns: Vec<String> = parts.iter().map(|part| b.op("Unsqueeze", &[part, &axis])).collect();
        let name = join(b, &columns);
        let leading = &x.dims[..last];
        let joined = [leading, &[Size::constant(pairs as usize), Size::constant(2)]].concat();
        let joined = Value { name, dims: joined, dtype: x.dtype };
        parts = vec![b.reshape(&joined, &[leading, &[Size::constant(2 * pairs as usize)]].concat())?.name];
    }
    if x.dims[last] != Size::constant(2 * pairs as usize) {
        parts.push(b.slice(&x.name, last, 2 * pairs, i64::MAX)?);
    }
    Ok(if let [part] = &parts[..] { part.clone() } else { join(b, &parts) })
}

/// Selects features at a distance of `step`.
fn strided(b: &mut Builder, x: &Value, start: i64, end: i64, step: i64) -> Result<String> {
    let (start, end, step) = (b.ints(&[start])?, b.ints(&[end])?, b.ints(&[step])?);
    let axis = b.ints(&[-1])?;
    Ok(b.op("Slice", &[&x.name, &start, &end, &axis, &step]))
}

/// Returns a table, `[positions, pairs]` or `[batch, positions, pairs]`, in a shape that broadcasts to the pairs of
/// `x`.
fn table(b: &mut Builder, table: &Value, x: &Value) -> Result<String> {
    let table = attention::to_dtype(b, table, x.dtype)?;
    let inserted: Vec<usize> = if table.rank() == 3 { (1..x.rank() - 2).collect() } else { Vec::new() };
    Ok(b.unsqueeze(&table, &inserted)?.name)
}
