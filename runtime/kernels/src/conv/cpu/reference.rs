//! The reference algorithm in plain Rust, for f64 and for operands that no other algorithm supports.
//!
//! It computes one output row at a time. Each tap adds a multiple of an input row to the columns whose input is not
//! padding. Padding therefore costs nothing and cannot produce NaN.

use std::ops::Range;

use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::float::Float;
use crate::parallel::{cost, for_each_chunk};

use super::operand::Values;

/// Convolves into all of `output`. `blocks` are the numbers of channels per block of the input and of the output, as
/// returned by [`Layout::block`](crate::layout::Layout::block).
pub(super) fn conv2d<T: Float>(
    shape: &ConvShape,
    blocks: [usize; 2],
    values: &Values<'_, T>,
    activation: Activation,
    output: &mut [T],
) {
    let ([height, width], [input_block, block]) = (shape.output, blocks);
    let input = Images {
        elements: &values.input,
        size: shape.input,
        channels: shape.in_channels,
        block: input_block,
    };
    let output_blocks = shape.out_channels.div_ceil(block);
    let compute_row = |index: usize, row: &mut [T]| {
        let (plane, y) = (index / height, index % height);
        let (image, first) = (plane / output_blocks, plane % output_blocks * block);
        row.fill(T::ZERO);
        for channel in first..shape.out_channels.min(first + block) {
            let lane = channel - first;
            let row = Row { elements: &mut row[lane..], step: block };
            let position = RowPosition { image, channel, y };
            let residual =
                values.residual.as_deref().map(|residual| &residual[index * width * block + lane..]);
            convolve_row(shape, &input, values, position, residual, activation, row);
        }
    };
    let products = shape.output_elements().saturating_mul(shape.depth());
    if products < cost::MIN_SCALAR_MULTIPLY_ADDS {
        output.chunks_exact_mut(width * block).enumerate().for_each(|(index, row)| compute_row(index, row));
    } else {
        for_each_chunk(output, width * block, compute_row);
    }
}

/// The images of the input, in blocks of `block` channels.
struct Images<'a, T> {
    elements: &'a [T],
    /// `[height, width]`
    size: [usize; 2],
    channels: usize,
    block: usize,
}

impl<'a, T> Images<'a, T> {
    /// Returns a channel's pixels, which are `block` elements apart.
    fn plane(&self, image: usize, channel: usize) -> &'a [T] {
        let index = image * self.channels.div_ceil(self.block) + channel / self.block;
        let len = self.size[0] * self.size[1] * self.block;
        &self.elements[index * len..][..len][channel % self.block..]
    }
}

/// A row of an output channel. Its pixels are `step` elements apart.
struct Row<'a, T> {
    elements: &'a mut [T],
    step: usize,
}

/// The position of an output row.
#[derive(Clone, Copy)]
struct RowPosition {
    image: usize,
    channel: usize,
    y: usize,
}

/// Computes one output row. `residual` starts at the row's first pixel.
fn convolve_row<T: Float>(
    shape: &ConvShape,
    input: &Images<'_, T>,
    values: &Values<'_, T>,
    position: RowPosition,
    residual: Option<&[T]>,
    activation: Activation,
    mut row: Row<'_, T>,
) {
    sum_row(shape, input, &values.weight, position, &mut row);
    let at = |vector: &Option<_>| vector.as_deref().map(|vector: &[T]| vector[position.channel]);
    let (scale, shift) = (at(&values.scale), at(&values.shift));
    for (x, element) in row.elements.iter_mut().step_by(row.step).enumerate() {
        let mut sum = *element;
        if let Some(scale) = scale {
            sum *= scale;
        }
        if let Some(shift) = shift {
            sum += shift;
        }
        if let Some(residual) = residual {
            sum += residual[x * row.step];
        }
        *element = activation.value(sum);
    }
}

/// Adds the products of all taps to `row`.
fn sum_row<T: Float>(
    shape: &ConvShape,
    input: &Images<'_, T>,
    weight: &[T],
    RowPosition { image, channel, y }: RowPosition,
    row: &mut Row<'_, T>,
) {
    let ([height, width], [_, kernel_width], geometry) = (shape.input, shape.kernel, &shape.geometry);
    let kernel_taps = shape.kernel[0] * kernel_width;
    let first = channel / shape.group_out_channels() * shape.group_in_channels();
    let filter = &weight[channel * shape.depth()..][..shape.depth()];
    for (i, weight) in filter.iter().enumerate() {
        let (ky, kx) = (i % kernel_taps / kernel_width, i % kernel_width);
        let in_y = (y * geometry.stride[0] + ky * geometry.dilation[0]).wrapping_sub(geometry.padding[0][0]);
        let inside = columns_inside(shape, kx);
        if in_y >= height || inside.is_empty() {
            continue;
        }
        let plane = input.plane(image, first + i / kernel_taps);
        let column = inside.start * geometry.stride[1] + kx * geometry.dilation[1] - geometry.padding[1][0];
        let from = &plane[(in_y * width + column) * input.block..];
        let steps = [input.block * geometry.stride[1], row.step];
        let end = row.elements.len().min((inside.end - 1) * row.step + 1);
        add_multiple(&mut row.elements[inside.start * row.step..end], *weight, from, steps);
    }
}

/// Returns the output columns for which tap `kx` lies within the input.
fn columns_inside(shape: &ConvShape, kx: usize) -> Range<usize> {
    let (stride, left) = (shape.geometry.stride[1], shape.geometry.padding[1][0]);
    let distance = kx * shape.geometry.dilation[1];
    let start = left.saturating_sub(distance).div_ceil(stride);
    let end = (shape.input[1] + left).saturating_sub(distance).div_ceil(stride).min(shape.output[1]);
    start..end
}

/// Adds the input's elements times `weight` to the row. `steps` are the distances between elements of the input and of
/// the row.
fn add_multiple<T: Float>(row: &mut [T], weight: T, input: &[T], steps: [usize; 2]) {
    if steps == [1, 1] {
        row.iter_mut().zip(input).for_each(|(sum, x)| *sum += weight * *x);
    } else {
        let input = input.iter().step_by(steps[0]);
        row.iter_mut().step_by(steps[1]).zip(input).for_each(|(sum, x)| *sum += weight * *x);
    }
}
