//! The weight of a convolution, with its packed copy for the kernels.

use std::sync::Arc;

use candle_core::{CpuStorage, Shape, Storage, Tensor};

use crate::Result;
use crate::kernels::conv::PackedCache;
use crate::module::VisitorMut;
use crate::signal::{Batch, Meta, Signal};

/// A weight, and a cache for the packed weight if the values of the weight cannot change. The first forward pass fills
/// the cache.
///
/// Tensors may share storage: a tensor from a `VarBuilder` may be a variable of a different network. The packed weight
/// is therefore cached only after [`inference`](crate::Network::inference), `load_state_dict` or `to_dtype` has
/// replaced the weight with a tensor whose storage belongs to this network alone.
#[derive(Clone)]
pub(crate) struct Weight {
    tensor: Tensor,
    /// The weight with the shape `dims_4d`. This tensor is stored instead of created in each call, because the cache
    /// recognizes the weight by the id of its tensor.
    tensor_4d: Tensor,
    /// The shape of the weight as a weight for images.
    dims_4d: [usize; 4],
    /// The cache, or `None` if training may change the storage of the weight in place.
    packed: Option<Arc<PackedCache>>,
}

impl Weight {
    /// Creates a weight. `dims_4d` is its shape as a weight for images.
    pub(crate) fn new(tensor: Tensor, dims_4d: [usize; 4]) -> Self {
        Self { tensor_4d: to_4d(&tensor, dims_4d), dims_4d, tensor, packed: None }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Returns the weight as a weight for images: with two dimensions for the channels, then height and width.
    pub(crate) fn tensor_4d(&self) -> &Tensor {
        &self.tensor_4d
    }

    pub(crate) fn packed(&self) -> Option<Arc<PackedCache>> {
        self.packed.clone()
    }

    /// Returns a convolution's result of the given shape for an input without numbers. A probe reports an input of
    /// another dtype: `call` runs the convolution on it.
    pub(crate) fn result_meta(
        &self,
        x: Signal,
        shape: impl Into<Shape>,
        call: impl Fn(Signal) -> Signal,
    ) -> Result<Signal> {
        if x.dtype()? == self.tensor.dtype() {
            return Ok(Meta::like(&self.tensor, shape).into());
        }
        Ok(x.through(Batch, call))
    }

    /// Passes the tensor to `visitor`. If the visitor replaces the tensor, discards the cache, and creates an empty one
    /// if the values of the new tensor cannot change.
    pub(crate) fn visit_mut(&mut self, name: &str, visitor: &mut dyn VisitorMut) {
        let old = self.tensor.clone();
        visitor.parameter(name, &mut self.tensor);
        if old.id() == self.tensor.id() {
            return;
        }
        self.tensor_4d = to_4d(&self.tensor, self.dims_4d);
        // A weight that had a cache shares its storage with no other network, so neither does a new tensor that has the
        // same storage.
        let may_be_shared = self.packed.is_none() && may_share_storage(&old, &self.tensor);
        self.packed = (!self.tensor.is_variable() && !may_be_shared).then(Arc::default);
    }
}

/// Reshapes a weight. Returns the weight itself if it has four dimensions or another number of elements.
fn to_4d(tensor: &Tensor, dims: [usize; 4]) -> Tensor {
    match tensor.rank() {
        4 => tensor.clone(),
        _ => tensor.reshape(&dims).unwrap_or_else(|_| tensor.clone()),
    }
}

/// Returns `true` if two tensors share memory, or if this is unknown.
fn may_share_storage(a: &Tensor, b: &Tensor) -> bool {
    if !a.device().is_cpu() || !b.device().is_cpu() {
        return a.device().same_device(b.device());
    }
    address(a) == address(b)
}

/// Returns the address of the storage of a float tensor on the CPU, or `None` for any other tensor.
fn address(tensor: &Tensor) -> Option<usize> {
    let (storage, _) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Some(values.as_ptr() as usize),
        Storage::Cpu(CpuStorage::F64(values)) => Some(values.as_ptr() as usize),
        Storage::Cpu(CpuStorage::F16(values)) => Some(values.as_ptr() as usize),
        Storage::Cpu(CpuStorage::BF16(values)) => Some(values.as_ptr() as usize),
        _ => None,
    }
}
