//! Operations on the planes of images. A plane is `[height, width]`, the last two dimensions of an image.

use std::mem::MaybeUninit;

use candle_core::{D, Result, Tensor, bail};

use crate::element::Element;
use crate::memory::{can_allocate, vec_written_by, write_zeros};
use crate::parallel::{cost, for_each_chunk};
use crate::relay::reshape;

/// Returns the `[height, width]` of an input `[batch, channels, height, width]` or `[channels, height, width]`.
pub fn input_size(op: &str, x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [_, c, h, w] | [c, h, w] if c > 0 && h > 0 && w > 0 => Ok([h, w]),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, height, width] or [channels, height, width] in which \
             only the batch may be 0, found {dims:?}"
        ),
    }
}

/// Returns the length of an input `[batch, channels, length]` or `[channels, length]`.
pub fn input_length(op: &str, x: &Tensor) -> Result<usize> {
    match *x.dims() {
        [_, c, l] | [c, l] if c > 0 && l > 0 => Ok(l),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, length] or [channels, length] in which only the batch \
             may be 0, found {dims:?}"
        ),
    }
}

/// Returns the `[depth, height, width]` of an input `[batch, channels, depth, height, width]` or
/// `[channels, depth, height, width]`.
pub fn video_size(op: &str, x: &Tensor) -> Result<[usize; 3]> {
    match *x.dims() {
        [_, c, d, h, w] | [c, d, h, w] if c > 0 && d > 0 && h > 0 && w > 0 && fits(x.dims()) => Ok([d, h, w]),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, depth, height, width] or [channels, depth, height, width] in \
             which only the batch may be 0, found {dims:?}"
        ),
    }
}

/// Runs an operation for images on a sequence: the operation receives the sequence as an image with one row.
pub(crate) fn as_row(x: &Tensor, operation: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let [leading @ .., length] = x.dims() else {
        bail!("expected a sequence, found a tensor without dimensions");
    };
    let row = reshape(x, [leading, &[1, *length]].concat())?;
    let y = operation(&row)?;
    let length = y.dim(D::Minus1)?;
    Ok(reshape(&y, [&y.dims()[..y.rank() - 2], &[length]].concat())?.into_tensor())
}

/// Returns the shape `dims` with its last two dimensions replaced.
pub fn with_size(dims: &[usize], size: [usize; 2]) -> Vec<usize> {
    [&dims[..dims.len() - 2], &size].concat()
}

/// Checks that the output of an operation fits in the address space. `dims` is the shape of the input, and `size` the
/// `[height, width]` of the output.
pub fn check_size(op: &str, dims: &[usize], size: [usize; 2]) -> Result<()> {
    let dims = with_size(dims, size);
    if fits(&dims) { Ok(()) } else { bail!("{op}: an output of {dims:?} is too large") }
}

/// Returns `true` if a tensor of this shape fits in the address space. A size of 0 counts as 1, so that the elements of
/// a plane count even if the batch is empty.
pub(crate) fn fits(dims: &[usize]) -> bool {
    let count = dims.iter().try_fold(1usize, |count, size| count.checked_mul((*size).max(1)));
    count.is_some_and(|count| count <= isize::MAX as usize / 64)
}

/// Checks that there is enough memory for the output of an operation. `dims` and `size` are those of [`check_size`]. A
/// size of 0 counts as 1, because operations have tables for the rows and columns of a plane even if the batch is
/// empty.
pub fn check_memory(op: &str, dims: &[usize], size: [usize; 2]) -> Result<()> {
    let dims = with_size(dims, size);
    let counted: Vec<usize> = dims.iter().map(|size| (*size).max(1)).collect();
    if can_allocate::<f64>(&counted) {
        Ok(())
    } else {
        bail!("{op}: not enough memory for an output of {dims:?}")
    }
}

/// Computes a plane of `output_len` elements from each plane of `input_len` elements of `x`. Each call of `fill`
/// receives the index of its first plane, the input of several planes, and their output, filled with zeros.
pub(crate) fn map_planes<E: Element>(
    x: &[E],
    input_len: usize,
    output_len: usize,
    fill: impl Fn(usize, &[E], &mut [E]) + Sync,
) -> Vec<E> {
    // SAFETY: `write_zeros` initializes every element of each chunk before `fill` runs.
    unsafe { write_planes(x, input_len, output_len, |first, x, y| fill(first, x, write_zeros(y))) }
}

/// Like [`map_planes`], but with an uninitialized output.
///
/// # Safety
/// `fill` must initialize every element of its output.
pub(crate) unsafe fn write_planes<E: Element>(
    x: &[E],
    input_len: usize,
    output_len: usize,
    fill: impl Fn(usize, &[E], &mut [MaybeUninit<E>]) + Sync,
) -> Vec<E> {
    let planes = cost::MIN_ELEMENTS.div_ceil(input_len);
    let tasks = |y: &mut [_]| {
        for_each_chunk(y, planes * output_len, |task, y| {
            let x = &x[task * planes * input_len..][..y.len() / output_len * input_len];
            fill(task * planes, x, y);
        });
    };
    // SAFETY: the chunks cover the whole output, and `fill` initializes each of them, as the caller guarantees.
    unsafe { vec_written_by(x.len() / input_len * output_len, tasks) }
}
