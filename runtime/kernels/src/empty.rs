//! Tensors without elements: results of operations on empty inputs, and views that begin past the end of their storage.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CudaStorage, Layout, MetalStorage, Result, Shape, Tensor};

use super::cuda::Operand as CudaOperand;
use super::operation::{self, CpuOperand, MetalOperand, Operation};

/// Returns an empty tensor of the given shape that passes a gradient of zeros to each of the `operands`, like
/// PyTorch. Candle's own binary operations drop the second operand from the graph if the result is empty.
///
/// # Errors
/// Fails if the operands differ in dtype or device, or there are none.
pub fn empty_output(operands: &[&Tensor], shape: impl Into<Shape>) -> Result<Tensor> {
    let sums = operands.iter().map(|operand| empty_sum(operand)).collect::<Result<Vec<_>>>()?;
    let sum = Tensor::stack(&sums, 0)?.sum_all()?;
    // The factor is a tensor, because candle does not track gradients through a scalar factor of zero.
    sum.mul(&sum.zeros_like()?)?.broadcast_as(shape)?.contiguous()
}

/// Returns a sum without terms that passes a gradient of zeros to `operand`. A sum of all elements would take as long
/// as the operand is large.
fn empty_sum(operand: &Tensor) -> Result<Tensor> {
    match operand.rank() {
        0 => Ok(operand.clone()),
        _ => operand.narrow(0, 0, 0)?.sum_all(),
    }
}

/// If the tensor is an empty view that does not begin at the start of its storage, returns an empty tensor with a new
/// storage. Returns all other tensors unchanged.
///
/// `chunk` on an empty batch returns views that begin past the end of their storage, and candle's operations panic on
/// them.
///
/// # Errors
/// Fails if the device cannot allocate the new storage.
pub fn with_new_storage_if_empty(tensor: Tensor) -> Result<Tensor> {
    if tensor.layout().start_offset() > 0 && tensor.elem_count() == 0 {
        operation::apply([&tensor], NewStorage)
    } else {
        Ok(tensor)
    }
}

/// The operation that returns an empty tensor with a new storage.
struct NewStorage;

impl NewStorage {
    fn run<S: BackendStorage<Device: BackendDevice<Storage = S>>>(
        (storage, layout): (&S, &Layout),
    ) -> Result<(S, Shape)> {
        let shape = layout.shape().clone();
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }
}

impl Operation<1> for NewStorage {
    const ON_EVERY_DEVICE: bool = true;

    fn name(&self) -> &'static str {
        "with_new_storage_if_empty"
    }

    fn forward(&self, [operand]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        Self::run(operand)
    }

    fn forward_on_cuda(&self, [operand]: [CudaOperand; 1]) -> Result<(CudaStorage, Shape)> {
        Self::run(operand)
    }

    fn forward_on_metal(&self, [operand]: [MetalOperand; 1]) -> Result<(MetalStorage, Shape)> {
        Self::run(operand)
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(grad.clone())])
    }
}
