//! The convolution out of candle's own operations, for devices that have no fused kernel.

use super::{ConvGeometry, ConvShape, Epilogue};
use crate::kernels::activation;
use candle_core::{Result, Tensor, bail};

/// As [`super::conv2d`]; candle's operations carry the gradients.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let per_channel = |vector: &Tensor| vector.reshape((1, (), 1, 1));
    let mut output = convolve(input, weight, shape)?;
    if let Some(scale) = &epilogue.scale {
        output = output.broadcast_mul(&per_channel(scale)?)?;
    }
    if let Some(shift) = &epilogue.shift {
        output = output.broadcast_add(&per_channel(shift)?)?;
    }
    if let Some(residual) = &epilogue.residual {
        output = (output + residual)?;
    }
    activation::apply(epilogue.activation, &output)
}

/// candle's convolution has one padding, one stride and one dilation for both axes: what goes beyond is
/// padded before it, and a stride that differs by axis is a stride of one, of which rows and columns
/// are then picked.
fn convolve(input: &Tensor, weight: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let ConvGeometry { stride, padding: [[top, bottom], [left, right]], dilation, groups } = shape.geometry;
    if dilation[0] != dilation[1] && shape.kernel.iter().all(|size| *size > 1) {
        bail!(
            "conv2d: candle's convolution on {:?} takes one dilation for both axes, got {dilation:?}",
            input.device().location()
        )
    }
    let dilation = if shape.kernel[0] > 1 { dilation[0] } else { dilation[1] };
    let symmetric = [bottom, left, right].iter().all(|padding| *padding == top);
    let (input, padding) = match symmetric {
        true => (input.clone(), top),
        false => (input.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?, 0),
    };
    if stride[0] == stride[1] {
        return input.conv2d(weight, padding, stride[0], dilation, groups);
    }
    let every = input.conv2d(weight, padding, 1, dilation, groups)?;
    let pick = |tensor: Tensor, axis: usize| -> Result<Tensor> {
        let rows = (0..shape.output[axis]).map(|i| (i * stride[axis]) as u32).collect::<Vec<_>>();
        tensor.index_select(&Tensor::new(rows, input.device())?, axis + 2)
    };
    pick(pick(every, 0)?, 1)
}
