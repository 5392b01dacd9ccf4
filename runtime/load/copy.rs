//! Copies the values of a checkpoint's tensor.

use candle_core::{Result, Tensor};

/// The elements that are converted at once.
pub(crate) const PIECE: usize = 1 << 16;

/// Copies the values of `from` into `to`, a contiguous tensor of the same shape, converted to its type and
/// device.
///
/// Copies [`PIECE`] elements at a time: a large tensor is in memory twice, in the file's type and in the
/// network's, and must not be there a third time.
pub(crate) fn fill(to: &Tensor, from: &Tensor) -> Result<()> {
    let (to, from) = (to.detach().flatten_all()?, from.flatten_all()?);
    for start in (0..to.elem_count()).step_by(PIECE) {
        let piece = from.narrow(0, start, PIECE.min(to.elem_count() - start))?;
        // A copy, as `from` may be `to`. (`copy` would copy the storage that the piece looks into.)
        to.slice_set(&converted(&piece.force_contiguous()?, &to)?, 0, start)?;
    }
    Ok(())
}

/// Returns `tensor` in the type and on the device of `like`.
pub(crate) fn converted(tensor: &Tensor, like: &Tensor) -> Result<Tensor> {
    tensor.to_device(like.device())?.to_dtype(like.dtype())
}
