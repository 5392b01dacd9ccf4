//! Operations on the planes of an image: the last two dimensions, whatever stands before them.

use super::element::Element;
use super::memory::{can_allocate, vec_written_by, write_zeros};
use super::parallel::{cost, for_each_chunk};
use candle_core::{D, Result, Tensor, bail};
use std::mem::MaybeUninit;

/// The `[height, width]` of an input `[batch, channels, height, width]` or `[channels, height, width]`.
pub fn input_size(op: &str, x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [_, c, h, w] | [c, h, w] if c > 0 && h > 0 && w > 0 => Ok([h, w]),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, height, width] or [channels, height, width] with \
             nothing but the batch empty, got {dims:?}"
        ),
    }
}

/// The length of an input `[batch, channels, length]` or `[channels, length]`.
pub fn input_length(op: &str, x: &Tensor) -> Result<usize> {
    match *x.dims() {
        [_, c, l] | [c, l] if c > 0 && l > 0 => Ok(l),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, length] or [channels, length] with nothing but the \
             batch empty, got {dims:?}"
        ),
    }
}

/// Runs an operation on images with a sequence as an image of one row.
pub(crate) fn as_row(x: &Tensor, operation: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    operation(&x.unsqueeze(x.rank() - 1)?)?.squeeze(D::Minus2)
}

/// The shape `dims` with its last two extents replaced.
pub fn with_size(dims: &[usize], size: [usize; 2]) -> Vec<usize> {
    [&dims[..dims.len() - 2], &size].concat()
}

/// Checks that an output of the given size, from an input of shape `dims`, can be addressed at all.
pub fn check_size(op: &str, dims: &[usize], size: [usize; 2]) -> Result<()> {
    let dims = with_size(dims, size);
    // A plane's elements even where the batch is empty.
    let count = dims.iter().try_fold(1usize, |count, size| count.checked_mul((*size).max(1)));
    match count {
        Some(count) if count <= isize::MAX as usize / 64 => Ok(()),
        _ => bail!("{op}: an output of {dims:?} is too large"),
    }
}

/// Checks that the machine has the memory for such an output.
pub fn check_room(op: &str, dims: &[usize], size: [usize; 2]) -> Result<()> {
    let dims = with_size(dims, size);
    match can_allocate::<f64>(&dims) {
        true => Ok(()),
        false => bail!("{op}: there is no memory for an output of {dims:?}"),
    }
}

/// Makes a plane of `to` elements from each plane of `from` elements of `x`. `fill` gets several planes
/// at once: which is the first, the input and the output, which is zeros.
pub(crate) fn map_planes<E: Element>(
    x: &[E],
    from: usize,
    to: usize,
    fill: impl Fn(usize, &[E], &mut [E]) + Sync,
) -> Vec<E> {
    // SAFETY: all of it is cleared before anything else.
    unsafe { write_planes(x, from, to, |first, x, y| fill(first, x, write_zeros(y))) }
}

/// As [`map_planes`], without a pass that clears the output.
///
/// # Safety
/// `fill` initialises every element it is given.
pub(crate) unsafe fn write_planes<E: Element>(
    x: &[E],
    from: usize,
    to: usize,
    fill: impl Fn(usize, &[E], &mut [MaybeUninit<E>]) + Sync,
) -> Vec<E> {
    let planes = cost::PASS.div_ceil(from);
    let tasks = |y: &mut [_]| {
        for_each_chunk(y, planes * to, |task, y| {
            let x = &x[task * planes * from..][..y.len() / to * from];
            fill(task * planes, x, y);
        });
    };
    // SAFETY: the chunks are all of the output, and the caller promises to initialise each.
    unsafe { vec_written_by(x.len() / from * to, tasks) }
}
