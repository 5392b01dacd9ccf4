//! The sources of a network's tensors during its construction.

mod checkpoint;
mod fresh;
mod initialize;

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;

pub(crate) use checkpoint::{Checkpoint, Fallback};
pub(crate) use fresh::fresh;

/// Returns `true` if `vb` initializes the tensor `name` instead of reading it.
pub(crate) fn is_fresh(vb: &VarBuilder, name: &str) -> bool {
    // A `Fresh` backend reports that it contains every name. candle's `VarMap` reports only the names that were already
    // requested.
    vb.contains_tensor("a name that no checkpoint has") || !vb.contains_tensor(name)
}

/// Returns `tensor`, or an error if its shape is not `shape`.
pub(crate) fn check_shape(tensor: &Tensor, shape: &Shape, name: &str) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    bail!("{name}: expected shape {:?}, found {:?}", shape.dims(), tensor.dims())
}
