//! The sources of a network's tensors during its construction.

mod checkpoint;
mod fresh;
mod initial_values;
mod initialize;
mod meta;

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;

pub(crate) use checkpoint::{Checkpoint, Fallback};
pub(crate) use fresh::fresh;
pub(crate) use initial_values::with_initial_values;
pub(crate) use meta::{is_meta, meta, reshape};

/// A name that no checkpoint has.
const UNKNOWN_NAME: &str = "a name that no checkpoint has";

/// Returns `true` if `vb` initializes the tensor `name` instead of reading it.
pub(crate) fn is_fresh(vb: &VarBuilder, name: &str) -> bool {
    // candle's `VarMap` reports only the names that were already requested.
    initializes_every_tensor(vb) || !vb.contains_tensor(name)
}

/// Returns `true` if `vb` reads no checkpoint. A `Fresh` backend and candle's constant backends report that they
/// contain every name.
pub(crate) fn initializes_every_tensor(vb: &VarBuilder) -> bool {
    vb.contains_tensor(UNKNOWN_NAME)
}

/// Returns `tensor`, or an error if its shape is not `shape`.
pub(crate) fn check_shape(tensor: &Tensor, shape: &Shape, name: &str) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    bail!("{name}: expected shape {:?}, found {:?}", shape.dims(), tensor.dims())
}
