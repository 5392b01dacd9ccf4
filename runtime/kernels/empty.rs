//! Sums over nothing.

use candle_core::{Result, Shape, Tensor};

/// An empty tensor of the given shape, from which a gradient of zeros reaches every one of `operands`, as in
/// PyTorch: candle's own operations on two tensors let go of the second where the result is empty.
pub(crate) fn nothing(operands: &[&Tensor], shape: impl Into<Shape>) -> Result<Tensor> {
    let sums = operands.iter().map(|operand| operand.sum_all()).collect::<Result<Vec<_>>>()?;
    let sum = Tensor::stack(&sums, 0)?.sum_all()?;
    // By a tensor, as candle takes a factor of zero for the end of the graph.
    sum.mul(&sum.zeros_like()?)?.broadcast_as(shape)?.contiguous()
}
