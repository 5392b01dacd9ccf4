//! Tensors of no elements: sums over nothing, and views that begin behind the end of their storage.

use super::cuda::Operand as CudaOperand;
use super::operation::{self, CpuOperand, Operation};
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CudaStorage, Result, Shape, Tensor};

/// An empty tensor of the given shape, from which a gradient of zeros reaches every one of `operands`, as in
/// PyTorch: candle's own operations on two tensors let go of the second where the result is empty.
pub fn nothing(operands: &[&Tensor], shape: impl Into<Shape>) -> Result<Tensor> {
    let sums = operands.iter().map(|operand| operand.sum_all()).collect::<Result<Vec<_>>>()?;
    let sum = Tensor::stack(&sums, 0)?.sum_all()?;
    // By a tensor, as candle takes a factor of zero for the end of the graph.
    sum.mul(&sum.zeros_like()?)?.broadcast_as(shape)?.contiguous()
}

/// The tensor, or, for an empty one that begins behind the end of its storage, one that does not: candle's own
/// operations panic at it, and `chunk` on an empty batch gives such views.
pub fn settled(tensor: Tensor) -> Result<Tensor> {
    match tensor.layout().start_offset() > 0 && tensor.elem_count() == 0 {
        true => operation::apply([&tensor], Settle),
        false => Ok(tensor),
    }
}

/// An empty tensor in a storage of its own.
struct Settle;

impl Operation<1> for Settle {
    fn name(&self) -> &'static str {
        "settle"
    }

    fn forward(&self, [(storage, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape().clone();
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn forward_on_cuda(&self, [(storage, layout)]: [CudaOperand; 1]) -> Result<(CudaStorage, Shape)> {
        let shape = layout.shape().clone();
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(grad.clone())])
    }
}
