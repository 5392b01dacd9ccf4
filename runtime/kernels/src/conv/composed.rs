//! Convolutions composed of candle's own operations, for devices without a fused kernel.

use candle_core::{Result, Tensor, bail};

use crate::activation;
use crate::pad::{self, PadMode};

use super::candle_convolution::CandleConvolution;
use super::{ConvGeometry, ConvShape, Epilogue, TransposeGeometry};

/// Computes [`super::conv2d`] with candle's operations, which are differentiable.
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

/// Convolves with candle's convolution, which has one padding, one stride and one dilation for both axes.
///
/// Padding that is not the same on all four sides is added before the convolution. If the strides differ, the
/// convolution runs with stride 1, and the rows and columns at multiples of the strides are selected afterwards.
fn convolve(input: &Tensor, weight: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let ConvGeometry { stride, padding: [[top, bottom], [left, right]], dilation, groups } = shape.geometry;
    if dilation[0] != dilation[1] && shape.kernel.iter().all(|size| *size > 1) {
        bail!(
            "conv2d: candle's convolution on {:?} supports one dilation for both axes, found {dilation:?}",
            input.device().location()
        )
    }
    // Along an axis with one tap, the dilation has no effect.
    let dilation = if shape.kernel[0] > 1 { dilation[0] } else { dilation[1] };
    let symmetric = [bottom, left, right].iter().all(|padding| *padding == top);
    let (input, padding) = if symmetric {
        (input.clone(), top)
    } else {
        (input.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?, 0)
    };
    let convolution = CandleConvolution { padding, stride: stride[0], dilation, groups };
    if stride[0] == stride[1] {
        return convolution.run(&input, weight);
    }
    let dense = CandleConvolution { stride: 1, ..convolution }.run(&input, weight)?;
    let select = |tensor: Tensor, axis: usize| -> Result<Tensor> {
        let indices = (0..shape.output[axis]).map(|i| (i * stride[axis]) as u32).collect::<Vec<_>>();
        tensor.index_select(&Tensor::new(indices, input.device())?, axis + 2)
    };
    select(select(dense, 0)?, 1)
}

/// Computes [`super::conv_transpose2d`] as a convolution with the flipped weight.
///
/// A stride inserts zeros between the elements of the input, and a dilation inserts zeros between the taps. candle's
/// own transposed convolution is not used, because it has one setting for both axes, does not support groups, and has
/// gradients for only some of the settings.
pub(super) fn conv_transpose2d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &TransposeGeometry,
) -> Result<Tensor> {
    let TransposeGeometry { stride, padding, output_padding, dilation, groups } = *geometry;
    let (in_channels, group_out_channels, height, width) = weight.dims4()?;
    let by_group = weight.reshape((groups, in_channels / groups, group_out_channels, height, width))?;
    let flipped = by_group.transpose(1, 2)?.flatten(0, 1)?.flip(&[2, 3])?;
    let weight = insert_zeros(&insert_zeros(&flipped, 2, dilation[0])?, 3, dilation[1])?;
    let input = insert_zeros(&insert_zeros(input, 2, stride[0])?, 3, stride[1])?;
    // A negative padding crops the input.
    let [rows, columns] = [0, 1].map(|axis| {
        let before = weight.dims()[axis + 2] as isize - 1 - padding[axis] as isize;
        [before, before + output_padding[axis] as isize]
    });
    let padded = pad::pad(&input, [columns[0], columns[1], rows[0], rows[1]], PadMode::ZEROS)?;
    let convolution = CandleConvolution { padding: 0, stride: 1, dilation: 1, groups };
    let output = convolution.run(&padded, &weight)?;
    match bias {
        Some(bias) => output.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(output),
    }
}

/// Inserts `step - 1` zeros between neighboring elements along a dimension.
fn insert_zeros(x: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let size = x.dim(dim)?;
    if step == 1 || size < 2 {
        return Ok(x.clone());
    }
    let padded = x.unsqueeze(dim + 1)?.pad_with_zeros(dim + 1, 0, step - 1)?.flatten(dim, dim + 1)?;
    padded.narrow(dim, 0, (size - 1) * step + 1)
}
