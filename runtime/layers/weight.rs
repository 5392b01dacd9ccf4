//! The weight of a layer, with a cache for its packed copy.

use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use crate::module::VisitorMut;

/// A weight, and a cache for the packed weight if the values of the weight cannot change. The first forward pass fills
/// the cache.
///
/// Tensors may share storage: a tensor from a `VarBuilder` may be a variable of a different network. The packed weight
/// is therefore cached only after [`inference`](crate::Network::inference), `load_state_dict` or `to_dtype` has
/// replaced the weight with a tensor whose storage belongs to this network alone.
#[derive(Clone)]
pub(crate) struct Weight<Cache> {
    tensor: Tensor,
    /// The cache, or `None` if training may change the storage of the weight in place.
    cache: Option<Arc<Cache>>,
}

impl<Cache: Default> Weight<Cache> {
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self { tensor, cache: None }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    pub(crate) fn cache(&self) -> Option<Arc<Cache>> {
        self.cache.clone()
    }

    /// Passes the tensor to `visitor`. If the visitor replaces the tensor, discards the cache, and creates an empty one
    /// if the values of the new tensor cannot change. Returns `true` if the visitor has replaced the tensor.
    pub(crate) fn visit_mut(&mut self, name: &str, visitor: &mut dyn VisitorMut) -> bool {
        let old = self.tensor.clone();
        visitor.parameter(name, &mut self.tensor);
        if old.id() == self.tensor.id() {
            return false;
        }
        // A weight that had a cache shares its storage with no other network, so neither does a new tensor that has the
        // same storage.
        let may_be_shared = self.cache.is_none() && may_share_storage(&old, &self.tensor);
        self.cache = (!self.tensor.is_variable() && !may_be_shared).then(Arc::default);
        true
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
