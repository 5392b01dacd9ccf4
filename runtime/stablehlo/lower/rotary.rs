//! Rotary position embedding.

use crate::Result;

use super::super::builder::Builder;
use super::super::ir::Value;
use super::Operands;

/// Rotates the pairs of features by the angles of their position. Features without an angle stay the same.
pub(super) fn rotary(b: &mut Builder, operands: &Operands<'_>, interleaved: bool) -> Result<Value> {
    let x = operands.required(0)?;
    let last = x.rank() - 1;
    let pairs = operands.required(1)?.dims.last().copied().unwrap_or(0);
    let [first, second] = [0, 1].map(|i| {
        if interleaved {
            b.slice(&x, last, i..2 * pairs, 2)
        } else {
            b.slice(&x, last, i * pairs..(i + 1) * pairs, 1)
        }
    });
    let (cos, sin) = (operands.required(1)?, operands.required(2)?);
    let [cos, sin] = [cos, sin].map(|angles| table(b, &angles, &x));
    let [first_cos, second_sin] = [b.mul(&first, &cos), b.mul(&second, &sin)];
    let [first_sin, second_cos] = [b.mul(&first, &sin), b.mul(&second, &cos)];
    let mut parts = vec![b.sub(&first_cos, &second_sin), b.add(&first_sin, &second_cos)];
    if interleaved {
        let columns: Vec<Value> = parts.iter().map(|part| b.unsqueeze(part, &[last + 1])).collect();
        let joined = b.concat(&columns, last + 1);
        parts = vec![b.reshape(&joined, &[&x.dims[..last], &[2 * pairs]].concat())];
    }
    if x.dims[last] != 2 * pairs {
        parts.push(b.slice(&x, last, 2 * pairs..x.dims[last], 1));
    }
    Ok(b.concat(&parts, last))
}

/// Returns a table, `[positions, pairs]` or `[batch, positions, pairs]`, in a shape that broadcasts to the pairs of
/// `x`.
fn table(b: &mut Builder, table: &Value, x: &Value) -> Value {
    let table = b.convert(table, x.element);
    let inserted: Vec<usize> = if table.rank() == 3 { (1..x.rank() - 2).collect() } else { Vec::new() };
    b.unsqueeze(&table, &inserted)
}
