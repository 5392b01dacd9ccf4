//! Convolutions.

use crate::Result;
use crate::kernels::conv::{ConvGeometry, TransposeGeometry};
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;

use super::super::builder::Builder;
use super::super::ir::{Convolution, Value};
use super::{Operands, of_axes, pad, with_batch};

/// Returns the settings of a convolution with stride 1 of an input `[batch, channels, …]`, without padding.
pub(super) fn settings(axes: usize) -> Convolution {
    Convolution {
        strides: vec![1; axes],
        padding: vec![[0; 2]; axes],
        input_dilation: vec![1; axes],
        kernel_dilation: vec![1; axes],
        groups: 1,
        batch_groups: 1,
        input: [0, 1],
        kernel: [0, 1],
        output: [0, 1],
    }
}

pub(super) fn conv(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &ConvGeometry<3>,
    mode: PadMode,
) -> Result<Value> {
    let (x, weight) = (operands.required(0)?, operands.required(1)?);
    let sides: Vec<[i64; 2]> = of_axes(axes, &geometry.padding.map(|sides| sides.map(|side| side as i64)));
    with_batch(b, &x, axes, |b, x| {
        let (x, padding) = if mode == PadMode::ZEROS {
            (x.clone(), sides)
        } else {
            (pad::pad_last(b, x, &sides, mode)?, vec![[0; 2]; axes.count()])
        };
        let settings = Convolution {
            strides: of_axes(axes, &geometry.stride),
            padding,
            kernel_dilation: of_axes(axes, &geometry.dilation),
            groups: geometry.groups,
            ..settings(axes.count())
        };
        let y = b.convolution(&x, &weight, settings);
        Ok(with_bias(b, &y, operands.optional(2)))
    })
}

pub(super) fn conv_transpose(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &TransposeGeometry<3>,
) -> Result<Value> {
    let (x, weight) = (operands.required(0)?, operands.required(1)?);
    with_batch(b, &x, axes, |b, x| {
        let y = transposed(b, x, &weight, axes, geometry);
        Ok(with_bias(b, &y, operands.optional(2)))
    })
}

/// The transposed convolution of `x` and a weight `[in, out / groups, …]`: a convolution of the elements of `x`, with
/// zeros between them, and of the reversed kernel.
pub(super) fn transposed(
    b: &mut Builder,
    x: &Value,
    weight: &Value,
    axes: Axes,
    geometry: &TransposeGeometry<3>,
) -> Value {
    let TransposeGeometry { stride, padding, output_padding, dilation, groups } = *geometry;
    let skipped = 3 - axes.count();
    let kernel = &weight.dims[2..];
    let sides = (0..axes.count()).map(|axis| {
        let i = skipped + axis;
        let side = (dilation[i] * (kernel[axis] - 1)) as i64 - padding[i] as i64;
        [side, side + output_padding[i] as i64]
    });
    let settings = Convolution {
        padding: sides.collect(),
        input_dilation: of_axes(axes, &stride),
        kernel_dilation: of_axes(axes, &dilation),
        groups,
        ..settings(axes.count())
    };
    let weight = outputs_first(b, weight, groups);
    let reversed = b.reverse(&weight, (2..weight.rank()).collect());
    b.convolution(x, &reversed, settings)
}

/// Reorders a weight `[in, out / groups, …]` to `[out, in / groups, …]`, or the other way.
pub(in crate::stablehlo) fn outputs_first(b: &mut Builder, weight: &Value, groups: usize) -> Value {
    let [inputs, outputs, kernel @ ..] = &weight.dims[..] else { return weight.clone() };
    let grouped = b.reshape(weight, &[&[groups, inputs / groups, *outputs], kernel].concat());
    let swapped = b.swap(&grouped, 1, 2);
    b.reshape(&swapped, &[&[groups * outputs, inputs / groups], kernel].concat())
}

fn with_bias(b: &mut Builder, y: &Value, bias: Option<&Value>) -> Value {
    let Some(bias) = bias else { return y.clone() };
    let bias = b.broadcast_in_dim(bias, vec![1], &y.dims);
    b.add(y, &bias)
}
