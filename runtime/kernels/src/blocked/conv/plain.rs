//! The convolution as the definition has it, for what the fast kernels leave over: a tap outside of the image
//! contributes nothing, so that no infinity or NaN of the weight meets a zero of the padding.

use super::{Epilogue, Input};
use crate::conv::ConvShape;
use crate::parallel::for_each_chunk;

pub(super) fn conv2d(
    shape: &ConvShape,
    input: Input<'_>,
    weight: &[f32],
    epilogue: &Epilogue<'_>,
    output: &mut [f32],
    lanes: usize,
) {
    let [height, width] = shape.output;
    let blocks = shape.out_channels.div_ceil(lanes);
    for_each_chunk(output, width * lanes, |index, row| {
        let (plane, y) = (index / height, index % height);
        let (image, first) = (plane / blocks, plane % blocks * lanes);
        row.fill(0.);
        for lane in 0..lanes.min(shape.out_channels - first) {
            let channel = first + lane;
            let row = &mut row[lane..];
            sum_row(shape, Image::new(shape, input, image, lanes), weight, [channel, y], row, lanes);
            let scale = epilogue.scale.map_or(1., |scale| scale[channel]);
            let shift = epilogue.shift.map_or(0., |shift| shift[channel]);
            for (x, sum) in row.iter_mut().step_by(lanes).enumerate() {
                let residual =
                    epilogue.residual.map_or(0., |residual| residual[(index * width + x) * lanes + lane]);
                *sum = epilogue.activation.value(*sum * scale + shift + residual);
            }
        }
    });
}

/// Adds the products of one row of an output channel to every `lanes`-th element of `row`.
fn sum_row(
    shape: &ConvShape,
    image: Image<'_>,
    weight: &[f32],
    [channel, y]: [usize; 2],
    row: &mut [f32],
    lanes: usize,
) {
    let [height, width] = shape.input;
    let (geometry, [kernel_height, kernel_width]) = (&shape.geometry, shape.kernel);
    let first = channel / shape.group_outputs() * shape.group_inputs();
    let taps = &weight[channel * shape.taps()..][..shape.taps()];
    for (i, tap) in taps.iter().enumerate() {
        let (ky, kx) = (i / kernel_width % kernel_height, i % kernel_width);
        let in_y = (y * geometry.stride[0] + ky * geometry.dilation[0]).wrapping_sub(geometry.padding[0][0]);
        if in_y >= height {
            continue;
        }
        let plane = image.plane(first + i / (kernel_height * kernel_width));
        for (x, sum) in row.iter_mut().step_by(lanes).enumerate() {
            let in_x =
                (x * geometry.stride[1] + kx * geometry.dilation[1]).wrapping_sub(geometry.padding[1][0]);
            if in_x < width {
                *sum += tap * plane[(in_y * width + in_x) * image.step];
            }
        }
    }
}

/// One image of an input.
#[derive(Clone, Copy)]
struct Image<'a> {
    pixels: &'a [f32],
    /// From the channels of a block to those of the next.
    block: usize,
    /// From pixel to pixel, and the channels of a block.
    step: usize,
}

impl<'a> Image<'a> {
    fn new(shape: &ConvShape, input: Input<'a>, image: usize, lanes: usize) -> Self {
        let (input, step) = match input {
            Input::Planes(input) => (input, 1),
            Input::Blocked(input) => (input, lanes),
        };
        let block = shape.input[0] * shape.input[1] * step;
        let len = shape.in_channels.div_ceil(step) * block;
        Self { pixels: &input[image * len..][..len], block, step }
    }

    /// A channel's pixels, `step` apart.
    fn plane(&self, channel: usize) -> &'a [f32] {
        &self.pixels[channel / self.step * self.block + channel % self.step..]
    }
}
