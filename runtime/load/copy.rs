//! Copies values from a checkpoint into a network.

use candle_core::{Result, Tensor};

use crate::checkpoint::{CHUNK, to_dtype};

/// Copies `source` to `target`, a contiguous tensor of equal shape. Converts the values to the dtype and device of
/// `target`.
///
/// Converts [`CHUNK`] elements at a time. Converting all of them together would need a third copy of a large tensor, in
/// addition to `source` and `target`.
pub(crate) fn fill(target: &Tensor, source: &Tensor) -> Result<()> {
    let target = target.detach().flatten_all()?;
    let source = source.flatten_all()?;
    for start in (0..target.elem_count()).step_by(CHUNK) {
        let chunk = source.narrow(0, start, CHUNK.min(target.elem_count() - start))?;
        // Copy the chunk, because `source` and `target` may share storage. (`copy` would copy the whole storage.)
        target.slice_set(&converted(&chunk.force_contiguous()?, &target)?, 0, start)?;
    }
    Ok(())
}

/// Converts `tensor` to the dtype and the device of `like`.
pub(crate) fn converted(tensor: &Tensor, like: &Tensor) -> Result<Tensor> {
    to_dtype(&tensor.to_device(like.device())?, like.dtype())
}
