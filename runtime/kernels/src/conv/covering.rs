//! Convolutions whose kernel covers the whole input. The output has one pixel: the product of the flattened input
//! and the flattened weight, as in a linear layer.

use candle_core::{DType, Result, Tensor};

use crate::composed_path::has_cpu_kernels;
use crate::linear::linear;
use crate::relay::reshape;

use super::{ConvShape, Epilogue};

/// Returns `true` if [`conv2d`] supports the operands and is faster for them than the convolution kernels. A linear
/// layer has neither a scale nor a residual, and has fast kernels in f32 only.
pub(super) fn supports(input: &Tensor, shape: &ConvShape, epilogue: &Epilogue) -> bool {
    let is_fast = input.dtype() == DType::F32 && has_cpu_kernels(input);
    let is_linear = epilogue.scale.is_none() && epilogue.residual.is_none();
    is_fast && is_linear && shape.kernel_covers_input()
}

/// Computes [`super::conv2d`] for operands that [`supports`] accepts.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let depth = shape.in_channels * shape.kernel.iter().product::<usize>();
    let input = reshape(input, (shape.batch, depth))?;
    let weight = reshape(weight, (shape.out_channels, depth))?;
    let output = linear(&input, &weight, epilogue.shift.as_ref(), epilogue.activation, None)?;
    Ok(reshape(&output, shape.output_dims().to_vec())?.into_tensor())
}
