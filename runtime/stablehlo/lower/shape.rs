//! Operations that change shapes or select elements.

use crate::graph::View;
use crate::{Error, Result};

use super::super::builder::Builder;
use super::super::ir::Value;
use super::Operands;

/// Selects the range of each dimension, removes the dimensions of size 1 that the result does not run through, reorders
/// the others, and inserts and repeats dimensions.
pub(super) fn view(b: &mut Builder, operands: &Operands<'_>, view: &View) -> Result<Value> {
    let x = operands.required(0)?;
    let output = &operands.output.dims;
    let size_in_result = |dim: usize| {
        view.axes.iter().position(|axis| *axis == Some(dim)).map_or(1, |position| output[position])
    };
    let limits = view.starts.iter().enumerate().map(|(dim, start)| start + size_in_result(dim)).collect();
    let selected = b.slice_all(&x, view.starts.clone(), limits, vec![1; x.rank()]);
    let kept: Vec<usize> = view.axes.iter().copied().flatten().collect();
    let removed: Vec<usize> = (0..x.rank()).filter(|dim| !kept.contains(dim)).collect();
    let squeezed = b.squeeze(&selected, &removed);
    let position = |dim: &usize| dim - removed.iter().filter(|removed| *removed < dim).count();
    let transposed = b.transpose(&squeezed, &kept.iter().map(position).collect::<Vec<_>>());
    let positions = (0..output.len()).filter(|dim| view.axes[*dim].is_some()).collect();
    Ok(b.broadcast_in_dim(&transposed, positions, output))
}

pub(super) fn concat(b: &mut Builder, operands: &Operands<'_>, dim: usize) -> Result<Value> {
    let parts = (0..operands.values.len()).map(|i| operands.required(i));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(b.concat(&parts, dim))
}

/// Moves the last elements of each dimension to its beginning.
pub(super) fn roll(b: &mut Builder, x: &Value, shifts: &[isize], dims: &[usize]) -> Value {
    let mut y = x.clone();
    for (shift, dim) in shifts.iter().zip(dims) {
        let size = x.dims[*dim];
        let shift = shift.rem_euclid(size.max(1) as isize) as usize;
        if shift != 0 {
            let last = b.slice(&y, *dim, size - shift..size, 1);
            let first = b.slice(&y, *dim, 0..size - shift, 1);
            y = b.concat(&[last, first], *dim);
        }
    }
    y
}

/// `[…, channels · factor², height, width]` to `[…, channels, height · factor, width · factor]`
pub(super) fn pixel_shuffle(b: &mut Builder, operands: &Operands<'_>, factor: usize) -> Result<Value> {
    let x = operands.required(0)?;
    let output = &operands.output.dims;
    let (leading, image) = x.dims.split_at(x.rank() - 3);
    let channels = output[leading.len()];
    let parts = [channels, factor, factor, image[1], image[2]];
    Ok(rearrange(b, &x, leading, &parts, [0, 3, 1, 4, 2], output))
}

/// `[…, channels, height · factor, width · factor]` to `[…, channels · factor², height, width]`
pub(super) fn pixel_unshuffle(b: &mut Builder, operands: &Operands<'_>, factor: usize) -> Result<Value> {
    let x = operands.required(0)?;
    let output = &operands.output.dims;
    let (leading, image) = x.dims.split_at(x.rank() - 3);
    let [rows, columns] = [1, 2].map(|dim| output[leading.len() + dim]);
    let parts = [image[0], rows, factor, columns, factor];
    Ok(rearrange(b, &x, leading, &parts, [0, 2, 4, 1, 3], output))
}

/// Splits the dimensions after the leading ones into `parts`, reorders the parts and joins them.
fn rearrange(
    b: &mut Builder,
    x: &Value,
    leading: &[usize],
    parts: &[usize],
    order: [usize; 5],
    output: &[usize],
) -> Value {
    let split = b.reshape(x, &[leading, parts].concat());
    let order: Vec<usize> =
        (0..leading.len()).chain(order.into_iter().map(|dim| leading.len() + dim)).collect();
    let reordered = b.transpose(&split, &order);
    b.reshape(&reordered, output)
}

/// Interleaves the channels of the groups.
pub(super) fn channel_shuffle(b: &mut Builder, x: &Value, groups: usize) -> Result<Value> {
    let [batch, channels, spatial @ ..] = &x.dims[..] else {
        return Err(Error::msg("expected an input [batch, channels, …]"));
    };
    let split = b.reshape(x, &[&[*batch, groups, channels / groups], spatial].concat());
    let transposed = b.swap(&split, 1, 2);
    Ok(b.reshape(&transposed, &x.dims))
}
