//! Where the tensors of a network come from while it is built.

mod checkpoint;
mod draw;
mod fresh;

pub(crate) use checkpoint::{Checkpoint, Fallback, Requests};
pub(crate) use fresh::fresh;

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;

/// Returns whether the tensor `name` of `vb` will be drawn, rather than read.
pub(crate) fn is_fresh(vb: &VarBuilder, name: &str) -> bool {
    // A source of fresh tensors has every name; candle's `VarMap` has the names that were asked for already.
    vb.contains_tensor("a name that no checkpoint has") || !vb.contains_tensor(name)
}

/// Returns `tensor` if it has the shape that a further request for its name expects.
fn same_shape(tensor: &Tensor, shape: &Shape, name: &str) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    bail!("{name}: expected shape {:?}, got {:?}", shape.dims(), tensor.dims())
}
