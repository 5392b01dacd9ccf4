//! The weight of a convolution.

use std::sync::Arc;

use candle_core::{Shape, Tensor};

use crate::Result;
use crate::kernels::conv::PackedCache;
use crate::layers::weight::Weight;
use crate::module::VisitorMut;
use crate::signal::{Batch, Meta, Signal};
use crate::source;

/// A weight, and the same weight as a weight for images.
#[derive(Clone)]
pub(crate) struct ConvWeight {
    weight: Weight<PackedCache>,
    /// The weight with the shape `dims_4d`. This tensor is stored instead of created on each call, because the cache
    /// recognizes the weight by the id of its tensor.
    tensor_4d: Tensor,
    /// The shape of the weight as a weight for images.
    dims_4d: [usize; 4],
}

impl ConvWeight {
    /// Creates a weight. `dims_4d` is its shape as a weight for images.
    pub(crate) fn new(tensor: Tensor, dims_4d: [usize; 4]) -> Self {
        Self { tensor_4d: to_4d(&tensor, dims_4d), dims_4d, weight: Weight::new(tensor) }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// Returns the weight as a weight for images: with two dimensions for the channels, then height and width.
    pub(crate) fn tensor_4d(&self) -> &Tensor {
        &self.tensor_4d
    }

    pub(crate) fn packed(&self) -> Option<Arc<PackedCache>> {
        self.weight.cache()
    }

    /// Returns a convolution's result of the given shape for an input without numbers. A probe reports an input of
    /// another dtype: `call` runs the convolution on it.
    pub(crate) fn result_meta(
        &self,
        x: Signal,
        shape: impl Into<Shape>,
        call: impl Fn(Signal) -> Signal,
    ) -> Result<Signal> {
        if x.dtype()? == self.tensor().dtype() {
            return Ok(Meta::like(self.tensor(), shape).into());
        }
        Ok(x.through(Batch, call))
    }

    /// Passes the tensor to `visitor`, as [`Weight::visit_mut`] does.
    pub(crate) fn visit_mut(&mut self, name: &str, visitor: &mut dyn VisitorMut) {
        if self.weight.visit_mut(name, visitor) {
            self.tensor_4d = to_4d(self.weight.tensor(), self.dims_4d);
        }
    }
}

/// Reshapes a weight. Returns the weight itself if it has four dimensions or another number of elements.
fn to_4d(tensor: &Tensor, dims: [usize; 4]) -> Tensor {
    match tensor.rank() {
        4 => tensor.clone(),
        _ => source::reshape(tensor, &dims).unwrap_or_else(|_| tensor.clone()),
    }
}
