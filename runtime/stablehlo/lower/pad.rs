//! Padding.

use crate::kernels::pad::PadMode;
use crate::{Error, Result};

use super::super::builder::Builder;
use super::super::ir::Value;

/// Pads the last two dimensions by `[left, right, top, bottom]`. Negative sides are cropped.
pub(super) fn pad_images(b: &mut Builder, x: &Value, sides: [isize; 4], mode: PadMode) -> Result<Value> {
    let [left, right, top, bottom] = sides.map(|side| side as i64);
    pad_last(b, x, &[[top, bottom], [left, right]], mode)
}

/// Pads the last dimensions. `sides` has the sizes before and after each of them. Negative sides are cropped first.
pub(super) fn pad_last(b: &mut Builder, x: &Value, sides: &[[i64; 2]], mode: PadMode) -> Result<Value> {
    let cropped: Vec<[i64; 2]> = sides.iter().map(|sides| sides.map(|side| side.min(0))).collect();
    let padded: Vec<[i64; 2]> = sides.iter().map(|sides| sides.map(|side| side.max(0))).collect();
    let x = pad_with(b, x, &cropped, 0.);
    if let PadMode::Constant(value) = mode {
        return Ok(pad_with(b, &x, &padded, value));
    }
    let first = x.rank() - sides.len();
    let mut y = x;
    for (i, sides) in padded.iter().enumerate() {
        y = extend(b, &y, first + i, sides.map(|side| side as usize), mode)?;
    }
    Ok(y)
}

/// Pads the last dimensions with a number.
pub(super) fn pad_with(b: &mut Builder, x: &Value, sides: &[[i64; 2]], number: f64) -> Value {
    let leading = vec![[0; 2]; x.rank() - sides.len()];
    b.pad(x, &[&leading, sides].concat(), vec![0; x.rank()], number)
}

/// Extends one dimension by elements of `x`.
fn extend(
    b: &mut Builder,
    x: &Value,
    dim: usize,
    [before, after]: [usize; 2],
    mode: PadMode,
) -> Result<Value> {
    let size = x.dims[dim];
    let mut parts = Vec::new();
    let edge = |b: &mut Builder, index: usize, count: usize| {
        let part = b.slice(x, dim, index..index + 1, 1);
        let mut dims = x.dims.clone();
        dims[dim] = count;
        b.broadcast_in_dim(&part, (0..x.rank()).collect(), &dims)
    };
    let mirrored = |b: &mut Builder, start: usize, count: usize| {
        let part = b.slice(x, dim, start..start + count, 1);
        b.reverse(&part, vec![dim])
    };
    let [first, last] = match mode {
        PadMode::Reflect => [
            (before > 0).then(|| mirrored(b, 1, before)),
            (after > 0).then(|| mirrored(b, size - 1 - after, after)),
        ],
        PadMode::Replicate => {
            [(before > 0).then(|| edge(b, 0, before)), (after > 0).then(|| edge(b, size - 1, after))]
        }
        PadMode::Circular => [
            (before > 0).then(|| b.slice(x, dim, size - before..size, 1)),
            (after > 0).then(|| b.slice(x, dim, 0..after, 1)),
        ],
        PadMode::Constant(_) => [None, None],
        PadMode::Unknown(name) => return Err(Error::msg(format!("unknown padding mode {name:?}"))),
    };
    parts.extend(first);
    parts.push(x.clone());
    parts.extend(last);
    Ok(b.concat(&parts, dim))
}
