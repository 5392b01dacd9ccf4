//! Reshaped tensors through which gradients are handed on directly.
//!
//! For candle, a reshaped tensor is the result of an operation: the backward pass clears a gradient of its operand, and
//! adds the gradient of the result to it. A [`Reshaped`] tensor has a proxy node, so that operations of this crate that
//! read it add their gradients to its slot instead, from where only their shape changes.

use std::ops::Deref;

use candle_core::{Result, Shape, Tensor};

use crate::composed_path::may_run_cpu_kernels;
use crate::operation::Operation;

use super::proxy::release;
use super::{Link, links};

/// A reshaped tensor. Operations of this crate hand its gradient on directly if they are applied before this value is
/// dropped.
pub struct Reshaped {
    tensor: Tensor,
    /// Whether the link of the tensor is removed when this value is dropped. Other links are removed together with the
    /// link of the operand.
    owns_link: bool,
}

impl Reshaped {
    /// Returns the tensor. It keeps its link if an operation with a proxy node computed the elements. Otherwise candle
    /// adds up the gradients of operations that are applied to the tensor from now on.
    pub fn into_tensor(self) -> Tensor {
        self.tensor.clone()
    }
}

impl From<Tensor> for Reshaped {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, owns_link: false }
    }
}

impl Deref for Reshaped {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl Drop for Reshaped {
    fn drop(&mut self) {
        if self.owns_link {
            Link::remove(self.tensor.id()).into_iter().for_each(release);
        }
    }
}

/// Returns a tensor with the elements of `x` and another shape, like [`Tensor::reshape`].
///
/// # Errors
/// Fails if the shape has another number of elements.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Reshaped> {
    let shape = shape.into();
    if *x.shape() == shape {
        return Ok(x.clone().into());
    }
    // Without this, candle's `reshape` would copy the elements.
    let x = x.contiguous()?;
    let tensor = x.reshape(shape)?;
    if !tensor.track_op() || !may_run_cpu_kernels(&x) {
        return Ok(tensor.into());
    }
    // The link does not hold `x` itself: `x` would stay alive as long as the link, which is removed with `x`.
    let link = Link::new([&x], [x.detach()], Reshape)?;
    link.insert(&tensor);
    match links().get_mut(&x.id()) {
        Some(owner) => {
            owner.reshaped.push(tensor.id());
            Ok(tensor.into())
        }
        None => Ok(Reshaped { tensor, owns_link: true }),
    }
}

/// The operation of a reshaped tensor's proxy node.
struct Reshape;

impl Operation<1> for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(gradient.reshape(x.shape())?)])
    }
}
