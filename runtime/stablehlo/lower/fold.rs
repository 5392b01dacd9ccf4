//! Sliding windows as columns, and sums of such columns.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::kernels::conv::TransposeGeometry;
use crate::kernels::fold::WindowGeometry;
use crate::kernels::internal::Axes;

use super::super::builder::Builder;
use super::super::ir::{Element, Value};
use super::{Operands, conv, pad, with_batch};

/// `[batch, channels, height, width]` to `[batch, channels · kernel elements, windows]`
pub(super) fn unfold(b: &mut Builder, operands: &Operands<'_>, geometry: &WindowGeometry) -> Result<Value> {
    with_batch(b, &operands.required(0)?, Axes::Two, |b, x| {
        let sides = geometry.padding.map(|side| [side as i64; 2]);
        let padded = pad::pad_with(b, x, &sides, 0.);
        let rows = gather_windows(b, &padded, geometry, 0)?;
        let both = gather_windows(b, &rows, geometry, 1)?;
        // batch, channels, kernel rows, windows, kernel columns, windows
        let ordered = b.swap(&both, 3, 4);
        let channels = ordered.dims[1..4].iter().product();
        let windows = ordered.dims[4] * ordered.dims[5];
        Ok(b.reshape(&ordered, &[x.dims[0], channels, windows]))
    })
}

/// Replaces an axis of images by the elements of its windows and the windows.
fn gather_windows(b: &mut Builder, x: &Value, geometry: &WindowGeometry, axis: usize) -> Result<Value> {
    // The first axis became two.
    let dim = if axis == 0 { 2 } else { 4 };
    let (kernel, stride, dilation) = (geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]);
    let windows = (x.dims[dim] - dilation * (kernel - 1) - 1) / stride + 1;
    let positions = (0..kernel).flat_map(|k| (0..windows).map(move |w| (w * stride + k * dilation) as f64));
    let indices = b.numbers(positions.collect(), &[kernel, windows], Element::I32)?;
    Ok(b.gather(x, &indices, dim))
}

/// `[batch, channels · kernel elements, windows]` to `[batch, channels, height, width]`: a transposed convolution whose
/// kernel moves each element to its place.
pub(super) fn fold(b: &mut Builder, operands: &Operands<'_>, geometry: &WindowGeometry) -> Result<Value> {
    let WindowGeometry { kernel, stride, padding, dilation } = *geometry;
    let output = &operands.output.dims;
    let [channels, height, width] = [3, 2, 1].map(|dim| output[output.len() - dim]);
    let padded = [height + 2 * padding[0], width + 2 * padding[1]];
    let reach = [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1) + 1);
    let windows = [0, 1].map(|axis| (padded[axis] - reach[axis]) / stride[axis] + 1);
    let rest = [0, 1].map(|axis| padded[axis] - reach[axis] - (windows[axis] - 1) * stride[axis]);
    let elements = kernel[0] * kernel[1];
    let x = operands.required(0)?;
    let weight = Tensor::eye(elements, candle_core::DType::F64, &Device::Cpu)?;
    let weight = weight.reshape((elements, 1, kernel[0], kernel[1]))?.repeat((channels, 1, 1, 1))?;
    let weight = b.weights(&weight, x.element)?;
    let axes = |sizes: [usize; 2], leading: usize| [leading, sizes[0], sizes[1]];
    let geometry = TransposeGeometry {
        stride: axes(stride, 1),
        padding: axes(padding, 0),
        output_padding: axes(rest, 0),
        dilation: axes(dilation, 1),
        groups: channels,
    };
    with_batch(b, &x, Axes::One, |b, x| {
        let images = b.reshape(x, &[x.dims[0], x.dims[1], windows[0], windows[1]]);
        Ok(conv::transposed(b, &images, &weight, Axes::Two, &geometry))
    })
}
