//! Padding.

use crate::kernels::pad::PadMode;
use crate::{Error, Result};

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;

/// Pads the last two dimensions by `[left, right, top, bottom]`. Negative sides are cropped.
pub(super) fn pad_images(b: &mut Builder, x: &Value, sides: [isize; 4], mode: PadMode) -> Result<String> {
    let [left, right, top, bottom] = sides.map(|side| side as i64);
    Ok(pad_last(b, x, &[vec![top, left], vec![bottom, right]], mode)?.name)
}

/// Pads the last dimensions. `sides` has the sizes before and after each of them. Negative sides are cropped first.
pub(super) fn pad_last(b: &mut Builder, x: &Value, sides: &[Vec<i64>; 2], mode: PadMode) -> Result<Value> {
    let cropped = sides.each_ref().map(|sides| sides.iter().map(|side| (*side).min(0)).collect::<Vec<_>>());
    let padded = sides.each_ref().map(|sides| sides.iter().map(|side| (*side).max(0)).collect::<Vec<_>>());
    let x = pad_once(b, x, &cropped, "constant", 0.)?;
    match mode {
        PadMode::Constant(value) => pad_once(b, &x, &padded, "constant", value),
        PadMode::Reflect => pad_once(b, &x, &padded, "reflect", 0.),
        PadMode::Replicate => pad_once(b, &x, &padded, "edge", 0.),
        PadMode::Circular => wrap(b, &x, &padded),
        PadMode::Unknown(name) => Err(Error::msg(format!("unknown padding mode {name:?}"))),
    }
}

fn pad_once(b: &mut Builder, x: &Value, sides: &[Vec<i64>; 2], mode: &str, value: f64) -> Result<Value> {
    if sides.iter().flatten().all(|side| *side == 0) {
        return Ok(x.clone());
    }
    let leading = vec![0; x.rank() - sides[0].len()];
    let pads = b.ints(&sides.each_ref().map(|sides| [&leading[..], sides].concat()).concat())?;
    let mut inputs = vec![x.name.clone(), pads];
    if mode == "constant" {
        inputs.push(b.number(value, x.dtype)?);
    }
    let name = b.op_with("Pad", &inputs, vec![Attribute::string("mode", mode)]);
    Ok(Value { name, dims: padded_dims(x, sides), dtype: x.dtype })
}

/// Repeats the opposite end of the input on each side.
fn wrap(b: &mut Builder, x: &Value, sides: &[Vec<i64>; 2]) -> Result<Value> {
    let mut y = x.name.clone();
    let first = x.rank() - sides[0].len();
    for (i, (before, after)) in sides[0].iter().zip(&sides[1]).enumerate() {
        let dim = first + i;
        let mut parts = vec![y.clone()];
        if *before > 0 {
            parts.insert(0, b.slice(&y, dim, -before, i64::MAX)?);
        }
        if *after > 0 {
            parts.push(b.slice(&y, dim, 0, *after)?);
        }
        if parts.len() > 1 {
            y = b.op_with("Concat", &parts, vec![Attribute::int("axis", dim as i64)]);
        }
    }
    Ok(Value { name: y, dims: padded_dims(x, sides), dtype: x.dtype })
}

fn padded_dims(x: &Value, sides: &[Vec<i64>; 2]) -> Vec<Size> {
    let mut dims = x.dims.clone();
    let first = dims.len() - sides[0].len();
    for (size, (before, after)) in dims[first..].iter_mut().zip(sides[0].iter().zip(&sides[1])) {
        *size = size.plus(before + after);
    }
    dims
}
