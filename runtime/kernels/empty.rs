//! Tensors of no elements: sums over nothing, and views that begin behind the end of their storage.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// An empty tensor of the given shape, from which a gradient of zeros reaches every one of `operands`, as in
/// PyTorch: candle's own operations on two tensors let go of the second where the result is empty.
pub(crate) fn nothing(operands: &[&Tensor], shape: impl Into<Shape>) -> Result<Tensor> {
    let sums = operands.iter().map(|operand| operand.sum_all()).collect::<Result<Vec<_>>>()?;
    let sum = Tensor::stack(&sums, 0)?.sum_all()?;
    // By a tensor, as candle takes a factor of zero for the end of the graph.
    sum.mul(&sum.zeros_like()?)?.broadcast_as(shape)?.contiguous()
}

/// The tensor, or, for an empty one that begins behind the end of its storage, one that does not: candle's own
/// operations panic at it, and `chunk` on an empty batch gives such views.
pub(crate) fn settled(tensor: Tensor) -> Result<Tensor> {
    match tensor.layout().start_offset() > 0 && tensor.elem_count() == 0 {
        true => tensor.apply_op1(Settle),
        false => Ok(tensor),
    }
}

/// An empty tensor in a storage of its own.
struct Settle;

impl CustomOp1 for Settle {
    fn name(&self) -> &'static str {
        "settle"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape().clone();
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = layout.shape().clone();
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}
