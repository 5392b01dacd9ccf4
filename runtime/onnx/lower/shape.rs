//! Operations that change shapes or select elements.

use crate::graph::View;
use crate::{Error, Result};

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::Operands;

/// Selects the range of each dimension, removes the dimensions of size 1 that the result does not run through, reorders
/// the others, and inserts and repeats dimensions.
pub(super) fn view(b: &mut Builder, operands: &Operands<'_>, view: &View) -> Result<String> {
    let x = select_ranges(b, operands, view)?;
    let output = &operands.output.dims;
    let kept: Vec<usize> = view.axes.iter().copied().flatten().collect();
    let removed: Vec<usize> = (0..x.rank()).filter(|dim| !kept.contains(dim)).collect();
    let inserted: Vec<usize> = (0..output.len()).filter(|dim| view.axes[*dim].is_none()).collect();
    let y = if kept.is_sorted() && removed == inserted {
        x
    } else {
        let squeezed = b.squeeze(&x, &removed)?;
        let position = |dim: &usize| dim - removed.iter().filter(|removed| *removed < dim).count();
        let transposed = b.transpose(&squeezed, &kept.iter().map(position).collect::<Vec<_>>());
        b.unsqueeze(&transposed, &inserted)?
    };
    if inserted.iter().all(|dim| output[*dim] == Size::constant(1)) {
        return Ok(y.name);
    }
    let shape = b.sizes(output)?;
    Ok(b.op("Expand", &[y.name, shape]))
}

/// Selects the range of each dimension that the result contains.
fn select_ranges(b: &mut Builder, operands: &Operands<'_>, view: &View) -> Result<Value> {
    let mut x = operands.required(0)?;
    let size_in_result = |dim: usize| match view.axes.iter().position(|axis| *axis == Some(dim)) {
        Some(position) => operands.output.dims[position],
        None => Size::constant(1),
    };
    let sizes: Vec<Size> = (0..x.rank()).map(size_in_result).collect();
    let selected: Vec<usize> = (0..x.rank()).filter(|dim| x.dims[*dim] != sizes[*dim]).collect();
    if selected.is_empty() {
        return Ok(x);
    }
    let starts = b.ints(&selected.iter().map(|dim| view.starts[*dim] as i64).collect::<Vec<_>>())?;
    let ends: Vec<Size> = selected.iter().map(|dim| sizes[*dim].plus(view.starts[*dim] as i64)).collect();
    let ends = b.sizes(&ends)?;
    let axes = b.ints(&selected.iter().map(|dim| *dim as i64).collect::<Vec<_>>())?;
    x.name = b.op("Slice", &[x.name, starts, ends, axes]);
    x.dims = sizes;
    Ok(x)
}

pub(super) fn concat(b: &mut Builder, operands: &Operands<'_>, dim: usize) -> Result<String> {
    let parts = (0..operands.values.len()).map(|i| Ok(operands.required(i)?.name));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(b.op_with("Concat", &parts, vec![Attribute::int("axis", dim as i64)]))
}

/// Moves the last elements of each dimension to its beginning.
pub(super) fn roll(b: &mut Builder, x: &Value, shifts: &[isize], dims: &[usize]) -> Result<String> {
    let mut y = x.name.clone();
    for (shift, dim) in shifts.iter().zip(dims) {
        let size = x.dims[*dim].known()?.max(1);
        let shift = shift.rem_euclid(size as isize) as i64;
        if shift == 0 {
            continue;
        }
        let last = b.slice(&y, *dim, -shift, i64::MAX)?;
        let first = b.slice(&y, *dim, 0, -shift)?;
        y = b.op_with("Concat", &[last, first], vec![Attribute::int("axis", *dim as i64)]);
    }
    Ok(y)
}

pub(super) fn gather(b: &mut Builder, x: &Value, indices: &Value, dim: usize) -> Result<String> {
    let indices = b.indices(indices)?;
    Ok(b.op_with("Gather", &[&x.name, &indices], vec![Attribute::int("axis", dim as i64)]))
}

/// `[…, channels · factor², height, width]` to `[…, channels, height · factor, width · factor]`
pub(super) fn pixel_shuffle(b: &mut Builder, operands: &Operands<'_>, factor: usize) -> Result<String> {
    let x = operands.required(0)?;
    let output = &operands.output.dims;
    let (leading, image) = x.dims.split_at(x.rank() - 3);
    let factor = Size::constant(factor);
    let channels = output[leading.len()];
    rearrange(b, &x, leading, &[channels, factor, factor, image[1], image[2]], [0, 3, 1, 4, 2], output)
}

/// `[…, channels, height · factor, width · factor]` to `[…, channels · factor², height, width]`
pub(super) fn pixel_unshuffle(b: &mut Builder, operands: &Operands<'_>, factor: usize) -> Result<String> {
    let x = operands.required(0)?;
    let output = &operands.output.dims;
    let (leading, image) = x.dims.split_at(x.rank() - 3);
    let [rows, columns] = [1, 2].map(|dim| output[leading.len() + dim]);
    let factor = Size::constant(factor);
    rearrange(b, &x, leading, &[image[0], rows, factor, columns, factor], [0, 2, 4, 1, 3], output)
}

/// Splits the dimensions after the leading ones into `parts`, reorders the parts and joins them.
fn rearrange(
    b: &mut Builder,
    x: &Value,
    leading: &[Size],
    parts: &[Size],
    order: [usize; 5],
    output: &[Size],
) -> Result<String> {
    let split = b.reshape(x, &[leading, parts].concat())?;
    let order: Vec<usize> =
        (0..leading.len()).chain(order.into_iter().map(|dim| leading.len() + dim)).collect();
    let reordered = b.transpose(&split, &order);
    Ok(b.reshape(&reordered, output)?.name)
}

/// Interleaves the channels of the groups.
pub(super) fn channel_shuffle(b: &mut Builder, operands: &Operands<'_>, groups: usize) -> Result<String> {
    let x = operands.required(0)?;
    let [batch, channels, spatial @ ..] = &x.dims[..] else {
        return Err(Error::msg("expected an input [batch, channels, …]"));
    };
    let parts = [Size::constant(groups), Size::constant(channels.known()? / groups)];
    let split = b.reshape(&x, &[&[*batch], &parts[..], spatial].concat())?;
    let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..split.rank()).collect();
    let transposed = b.transpose(&split, &order);
    Ok(b.reshape(&transposed, &x.dims)?.name)
}
