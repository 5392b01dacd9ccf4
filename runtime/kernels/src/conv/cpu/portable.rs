//! The convolution in plain Rust, for f64 and as the plainest statement of what the others compute.
//!
//! One output row at a time: every tap adds its multiple of an input row, over the columns that the
//! tap reaches, so that padding costs nothing and contributes nothing.

use super::epilogue::Scalars;
use super::operand::Values;
use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::float::Float;
use crate::memory::allocate;
use crate::parallel::for_each_chunk;
use candle_core::Result;
use std::ops::Range;

pub(super) fn conv2d<T: Float>(
    shape: &ConvShape,
    values: &Values<'_, T>,
    activation: Activation,
) -> Result<Vec<T>> {
    let mut output = allocate(shape.output_elements())?;
    output.resize(shape.output_elements(), T::ZERO);
    let [height, width] = shape.output;
    let run = |index: usize, row: &mut [T]| {
        let (plane, y) = (index / height, index % height);
        let (image, channel) = (plane / shape.out_channels, plane % shape.out_channels);
        sum_row(shape, values, image, channel, y, row);
        let residual = values.residual.as_deref().map(|residual| &residual[index * width..][..width]);
        Scalars::of(values, channel).apply(row, residual, activation);
    };
    let macs = shape.output_elements().saturating_mul(shape.taps());
    if macs < SERIAL_BELOW {
        output.chunks_exact_mut(width).enumerate().for_each(|(index, row)| run(index, row));
    } else {
        for_each_chunk(&mut output, width, run);
    }
    Ok(output)
}

/// Multiplications below which handing out rows to threads costs more than it gains.
const SERIAL_BELOW: usize = 1 << 16;

/// Adds to `row`, row `y` of an output channel, the products of all its taps.
fn sum_row<T: Float>(
    shape: &ConvShape,
    values: &Values<'_, T>,
    image: usize,
    channel: usize,
    y: usize,
    row: &mut [T],
) {
    let [height, width] = shape.input;
    let [kernel_height, kernel_width] = shape.kernel;
    let geometry = &shape.geometry;
    let first = channel / shape.group_outputs() * shape.group_inputs();
    for c in 0..shape.group_inputs() {
        let plane =
            &values.input[(image * shape.in_channels + first + c) * height * width..][..height * width];
        let taps = &values.weight[(channel * shape.group_inputs() + c) * kernel_height * kernel_width..];
        for (ky, taps) in taps.chunks_exact(kernel_width).take(kernel_height).enumerate() {
            let in_y =
                (y * geometry.stride[0] + ky * geometry.dilation[0]).wrapping_sub(geometry.padding[0][0]);
            if in_y >= height {
                continue;
            }
            let input = &plane[in_y * width..][..width];
            for (kx, tap) in taps.iter().enumerate() {
                let inside = columns_inside(shape, kx);
                if inside.is_empty() {
                    continue;
                }
                let first =
                    inside.start * geometry.stride[1] + kx * geometry.dilation[1] - geometry.padding[1][0];
                add_multiple(&mut row[inside], *tap, &input[first..], geometry.stride[1]);
            }
        }
    }
}

/// The output columns for which tap `kx` lies within the input.
fn columns_inside(shape: &ConvShape, kx: usize) -> Range<usize> {
    let (stride, left) = (shape.geometry.stride[1], shape.geometry.padding[1][0]);
    let reach = kx * shape.geometry.dilation[1];
    let start = left.saturating_sub(reach).div_ceil(stride);
    let end = (shape.input[1] + left).saturating_sub(reach).div_ceil(stride).min(shape.output[1]);
    start..end
}

fn add_multiple<T: Float>(row: &mut [T], tap: T, input: &[T], stride: usize) {
    if stride == 1 {
        row.iter_mut().zip(input).for_each(|(sum, x)| *sum += tap * *x);
    } else {
        row.iter_mut().zip(input.iter().step_by(stride)).for_each(|(sum, x)| *sum += tap * *x);
    }
}
