//! Sliding windows as columns, and sums of such columns.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::kernels::fold::WindowGeometry;
use crate::kernels::internal::Axes;
use crate::kernels::pad::PadMode;

use super::super::builder::{Builder, Value};
use super::super::proto::Attribute;
use super::super::symbolic::Size;
use super::{Operands, pad, with_batch};

/// `[batch, channels, height, width]` to `[batch, channels · kernel elements, windows]`
pub(super) fn unfold(b: &mut Builder, operands: &Operands<'_>, geometry: &WindowGeometry) -> Result<String> {
    with_batch(b, &operands.required(0)?, Axes::Two, |b, x| {
        let padding = geometry.padding.map(|side| side as i64).to_vec();
        let padded = pad::pad_last(b, x, &[padding.clone(), padding], PadMode::ZEROS)?;
        let (rows, windows_down) = gather_windows(b, &padded, geometry, 0)?;
        let (both, windows_right) = gather_windows(b, &rows, geometry, 1)?;
        // batch, channels, kernel rows, windows, kernel columns, windows
        let ordered = b.transpose(&both, &[0, 1, 2, 4, 3, 5]);
        let channels = x.dims[1].known()? * geometry.kernel.iter().product::<usize>();
        let shape = [x.dims[0], Size::constant(channels), Size::constant(windows_down * windows_right)];
        Ok(b.reshape(&ordered, &shape)?.name)
    })
}

/// Replaces an axis of images by the elements of its windows and the windows. Returns the number of windows too.
fn gather_windows(
    b: &mut Builder,
    x: &Value,
    geometry: &WindowGeometry,
    axis: usize,
) -> Result<(Value, usize)> {
    // The first axis became two.
    let dim = if axis == 0 { 2 } else { 4 };
    let (kernel, stride, dilation) = (geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]);
    let windows = (x.dims[dim].known()? - dilation * (kernel - 1) - 1) / stride + 1;
    let positions = (0..kernel).flat_map(|k| (0..windows).map(move |w| (w * stride + k * dilation) as i64));
    let indices = Tensor::from_iter(positions, &Device::Cpu)?.reshape((kernel, windows))?;
    let indices = b.tensor(&indices)?;
    let name = b.op_with("Gather", &[x.name.clone(), indices], vec![Attribute::int("axis", dim as i64)]);
    let mut dims = x.dims.clone();
    dims.splice(dim..=dim, [Size::constant(kernel), Size::constant(windows)]);
    Ok((Value { name, dims, dtype: x.dtype }, windows))
}

/// `[batch, channels · kernel elements, windows]` to `[batch, channels, height, width]`: a transposed convolution whose
/// kernel moves each element to its place.
pub(super) fn fold(b: &mut Builder, operands: &Operands<'_>, geometry: &WindowGeometry) -> Result<String> {
    let WindowGeometry { kernel, stride, padding, dilation } = *geometry;
    let rank = operands.output.dims.len();
    let [channels, height, width] = [3, 2, 1].map(|dim| operands.output.dims[rank - dim].known());
    let (channels, size) = (channels?, [height?, width?]);
    let reach = [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1) + 1);
    let windows = [0, 1].map(|axis| (size[axis] + 2 * padding[axis] - reach[axis]) / stride[axis] + 1);
    let rest =
        [0, 1].map(|axis| size[axis] + 2 * padding[axis] - reach[axis] - (windows[axis] - 1) * stride[axis]);
    let elements = kernel[0] * kernel[1];
    let weight = Tensor::eye(elements, operands.output.dtype, &Device::Cpu)?;
    let weight = weight.reshape((elements, 1, kernel[0], kernel[1]))?.repeat((channels, 1, 1, 1))?;
    let weight = b.tensor(&weight)?;
    with_batch(b, &operands.required(0)?, Axes::One, |b, x| {
        let shape = [x.dims[0], x.dims[1], Size::constant(windows[0]), Size::constant(windows[1])];
        let images = b.reshape(x, &shape)?;
        let pair = |sizes: [usize; 2]| sizes.map(|size| size as i64).to_vec();
        let attributes = vec![
            Attribute::ints("kernel_shape", pair(kernel)),
            Attribute::ints("strides", pair(stride)),
            Attribute::ints("pads", [pair(padding), pair(padding)].concat()),
            Attribute::ints("output_padding", pair(rest)),
            Attribute::ints("dilations", pair(dilation)),
            Attribute::int("group", channels as i64),
        ];
        Ok(b.op_with("ConvTranspose", &[images.name, weight], attributes))
    })
}
