//! A convolution's weight, with the packed copy that the kernels want.

use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use crate::kernels::conv::PackedCache;
use crate::module::VisitorMut;

/// A weight and, where nobody else can change its content, its packed form, made at the first call.
///
/// A tensor does not tell who else holds its storage: one that a `VarBuilder` gives may be a variable's in
/// another network. So only the storage that this network has been given for itself is packed, by
/// [`inference`](crate::Network::inference), `load_state_dict` or `to_dtype`.
#[derive(Clone)]
pub(crate) struct Weight {
    tensor: Tensor,
    /// The tensor as the kernels take it: that of a signal has a height of 1. Kept, because the packed form
    /// belongs to one tensor.
    kernel: Tensor,
    /// None where the storage is, or may be, a trainable variable's, which changes in place.
    packed: Option<Arc<PackedCache>>,
}

impl Weight {
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self { kernel: kernel(&tensor), tensor, packed: None }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// `[outputs, inputs / groups, height, width]`
    pub(crate) fn kernel(&self) -> &Tensor {
        &self.kernel
    }

    pub(crate) fn packed(&self) -> Option<Arc<PackedCache>> {
        self.packed.clone()
    }

    /// Offers the tensor to `visitor`, and forgets the packed form of one that was replaced.
    pub(crate) fn visit_mut(&mut self, name: &str, visitor: &mut dyn VisitorMut) {
        let before = self.tensor.clone();
        visitor.parameter(name, &mut self.tensor);
        if before.id() == self.tensor.id() {
            return;
        }
        self.kernel = kernel(&self.tensor);
        let live = self.packed.is_none() && same_storage(&before, &self.tensor);
        self.packed = (!self.tensor.is_variable() && !live).then(Arc::default);
    }
}

/// A weight `[…, …, length]` as `[…, …, 1, length]`; one of another rank stays what it is.
fn kernel(tensor: &Tensor) -> Tensor {
    match tensor.rank() {
        3 => tensor.unsqueeze(2).unwrap_or_else(|_| tensor.clone()),
        _ => tensor.clone(),
    }
}

/// Whether two tensors read the same memory; unknown ones are taken to.
fn same_storage(a: &Tensor, b: &Tensor) -> bool {
    if !a.device().is_cpu() || !b.device().is_cpu() {
        return a.device().same_device(b.device());
    }
    address(a) == address(b)
}

/// Where the elements begin.
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
