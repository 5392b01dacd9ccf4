//! The weight of a convolution, with its packed copy for the kernels.

use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use crate::kernels::conv::PackedCache;
use crate::module::VisitorMut;

/// A weight and, if its content cannot change, a cache of its packed form, filled by the first call.
///
/// The storage of a tensor may be shared: that of a `VarBuilder` may belong to a variable of another network. So a
/// weight is only packed after [`inference`](crate::Network::inference), `load_state_dict` or `to_dtype` has
/// replaced it by a tensor with storage that belongs to this network alone.
#[derive(Clone)]
pub(crate) struct Weight {
    tensor: Tensor,
    /// The tensor with four dimensions; the weight of a 1D convolution gets a height of 1. Stored because the packed
    /// form belongs to one tensor.
    tensor_4d: Tensor,
    /// `None` if the storage is, or may be, that of a trainable variable, which changes in place.
    packed: Option<Arc<PackedCache>>,
}

impl Weight {
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self { tensor_4d: to_4d(&tensor), tensor, packed: None }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Returns the weight with four dimensions, `[out_channels, in_channels / groups, height, width]`.
    pub(crate) fn tensor_4d(&self) -> &Tensor {
        &self.tensor_4d
    }

    pub(crate) fn packed(&self) -> Option<Arc<PackedCache>> {
        self.packed.clone()
    }

    /// Shows the tensor to `visitor`. Discards the packed form if the visitor replaces the tensor.
    pub(crate) fn visit_mut(&mut self, name: &str, visitor: &mut dyn VisitorMut) {
        let before = self.tensor.clone();
        visitor.parameter(name, &mut self.tensor);
        if before.id() == self.tensor.id() {
            return;
        }
        self.tensor_4d = to_4d(&self.tensor);
        let may_be_shared = self.packed.is_none() && same_storage(&before, &self.tensor);
        self.packed = (!self.tensor.is_variable() && !may_be_shared).then(Arc::default);
    }
}

/// Reshapes a weight `[…, …, length]` to `[…, …, 1, length]`. Returns weights of another rank unchanged.
fn to_4d(tensor: &Tensor) -> Tensor {
    match tensor.rank() {
        3 => tensor.unsqueeze(2).unwrap_or_else(|_| tensor.clone()),
        _ => tensor.clone(),
    }
}

/// Whether two tensors read the same memory. Assumes so if it cannot be determined.
fn same_storage(a: &Tensor, b: &Tensor) -> bool {
    if !a.device().is_cpu() || !b.device().is_cpu() {
        return a.device().same_device(b.device());
    }
    address(a) == address(b)
}

/// Returns the address of the first element of a float tensor on the CPU.
fn address(tensor: &Tensor) -> Option<usize> {
    let (storage, _) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(v)) => Some(v.as_ptr() as usize),
        Storage::Cpu(CpuStorage::F64(v)) => Some(v.as_ptr() as usize),
        Storage::Cpu(CpuStorage::F16(v)) => Some(v.as_ptr() as usize),
        Storage::Cpu(CpuStorage::BF16(v)) => Some(v.as_ptr() as usize),
        _ => None,
    }
}
