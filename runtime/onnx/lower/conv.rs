//! Convolutions.

use crate::Result;
use crate::kernels::conv::{ConvGeometry, TransposeGeometry};
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::{Operands, of_axes, pad, with_batch};

pub(super) fn conv(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &ConvGeometry<3>,
    mode: PadMode,
) -> Result<String> {
    let (x, weight) = (operands.required(0)?, operands.required(1)?);
    let ConvGeometry { stride, padding, dilation, groups } = *geometry;
    let sides = [0, 1].map(|side| of_axes(axes, padding.map(|sides| sides[side])));
    with_batch(b, &x, axes, |b, x| {
        let (x, sides) = if mode == PadMode::ZEROS {
            (x.name.clone(), sides)
        } else {
            let zeros = vec![0; axes.count()];
            (pad::pad_last(b, x, &sides, mode)?.name, [zeros.clone(), zeros])
        };
        let attributes = vec![
            Attribute::ints("kernel_shape", kernel_shape(&weight)?),
            Attribute::ints("strides", of_axes(axes, stride)),
            Attribute::ints("pads", sides.concat()),
            Attribute::ints("dilations", of_axes(axes, dilation)),
            Attribute::int("group", groups as i64),
        ];
        Ok(b.op_with("Conv", &with_bias(x, &weight, operands), attributes))
    })
}

pub(super) fn conv_transpose(
    b: &mut Builder,
    operands: &Operands<'_>,
    axes: Axes,
    geometry: &TransposeGeometry<3>,
) -> Result<String> {
    let (x, weight) = (operands.required(0)?, operands.required(1)?);
    let TransposeGeometry { stride, padding, output_padding, dilation, groups } = *geometry;
    let padding = of_axes(axes, padding);
    // ONNX Runtime accepts an output padding less than the stride. A zero after the last row of the input makes the
    // output longer by the stride.
    let axis_pairs =
        |f: fn(usize, usize) -> usize| [0, 1, 2].map(|axis| f(output_padding[axis], stride[axis]));
    let zeros = of_axes(axes, axis_pairs(|padding, stride| padding / stride));
    let output_padding = of_axes(axes, axis_pairs(|padding, stride| padding % stride));
    with_batch(b, &x, axes, |b, x| {
        let x = pad::pad_last(b, x, &[vec![0; axes.count()], zeros], PadMode::ZEROS)?;
        let attributes = vec![
            Attribute::ints("kernel_shape", kernel_shape(&weight)?),
            Attribute::ints("strides", of_axes(axes, stride)),
            Attribute::ints("pads", [padding.clone(), padding].concat()),
            Attribute::ints("output_padding", output_padding),
            Attribute::ints("dilations", of_axes(axes, dilation)),
            Attribute::int("group", groups as i64),
        ];
        Ok(b.op_with("ConvTranspose", &with_bias(x.name, &weight, operands), attributes))
    })
}

fn kernel_shape(weight: &Value) -> Result<Vec<i64>> {
    Ok(weight.known_sizes(2)?.into_iter().map(|size| size as i64).collect())
}

/// Returns the inputs of a convolution: the image, the weight and the bias, if the convolution has one.
fn with_bias(x: String, weight: &Value, operands: &Operands<'_>) -> Vec<String> {
    let bias = operands.optional(2).map(|bias| bias.name.clone());
    [x, weight.name.clone()].into_iter().chain(bias).collect()
}
