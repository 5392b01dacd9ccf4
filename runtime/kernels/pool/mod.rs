//! Pooling over the last two dimensions: maximum, average, and average to a given size.

mod average;
mod composed;
mod geometry;
mod max;

pub use average::{adaptive_avg_pool2d, avg_pool2d};
pub use geometry::PoolGeometry;
pub use max::max_pool2d;

use super::element::{Element, zeros};
use super::parallel::for_each_chunk;
use candle_core::{Result, Tensor, bail};

/// Elements that one task handles at the least; a tensor no larger runs on the caller's core.
const TASK: usize = 1 << 14;

/// The `[height, width]` of an input `[batch, channels, height, width]` or `[channels, height, width]`.
fn input_size(op: &str, x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [_, c, h, w] | [c, h, w] if c > 0 && h > 0 && w > 0 => Ok([h, w]),
        ref dims => bail!(
            "{op}: expected an input [batch, channels, height, width] or [channels, height, width] with \
             nothing but the batch empty, got {dims:?}"
        ),
    }
}

/// The shape `dims` with its last two extents replaced.
fn with_size(dims: &[usize], size: [usize; 2]) -> Vec<usize> {
    [&dims[..dims.len() - 2], &size].concat()
}

/// Makes a plane of `to` elements from each plane of `from` elements of `x`. `fill` gets several planes
/// at once: which is the first, the input and the output.
pub(super) fn map_planes<E: Element>(
    x: &[E],
    from: usize,
    to: usize,
    fill: impl Fn(usize, &[E], &mut [E]) + Sync,
) -> Vec<E> {
    let mut y = zeros(x.len() / from * to);
    let planes = TASK.div_ceil(from);
    for_each_chunk(&mut y, planes * to, |task, y| {
        let x = &x[task * planes * from..][..y.len() / to * from];
        fill(task * planes, x, y);
    });
    y
}
