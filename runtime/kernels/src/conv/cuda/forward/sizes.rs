//! The structures passed to the kernels by value, and the limits of the kernels' counters.

use crate::conv::ConvShape;
use crate::cuda::Arg;
use candle_core::{Result, bail};

/// The maximum number of rows or columns of the padded input: half of `OUTSIDE` in `gather.cuh`, an index that is
/// outside of every input.
const MAX_POSITIONS: usize = 1 << 29;
/// The maximum number of pixels or elements. Kernels count in an `int`, and the last tile may extend beyond the count.
const MAX_ELEMENTS: usize = 1 << 30;
/// A packed layout rounds up the number of channels of a group to a multiple of 16 bytes: 8 channels of a 16-bit type,
/// or 4 of f32. This is the larger number.
const PACKED_MULTIPLE: usize = 8;
/// The maximum number of products in a sum. Offsets within a tile of the weight then fit in an `int`.
const MAX_DEPTH: usize = 1 << 23;

/// Returns the structure `ConvSizes` of a shape that passed [`check`].
pub fn sizes(shape: &ConvShape) -> Result<Arg> {
    let ConvShape { batch, in_channels, out_channels, input, kernel, output, geometry } = *shape;
    let plane = output[0] * output[1];
    // With a single output, the stride has no effect, and with a single tap, the dilation has none. Such a value can be
    // huge, so it is clamped.
    let [stride, dilation] =
        [geometry.stride, geometry.dilation].map(|pair| pair.map(|n| n.min(MAX_POSITIONS)));
    let fields = [
        &[batch, in_channels, out_channels][..],
        &input,
        &output,
        &kernel,
        &stride,
        &geometry.padding.map(|[before, _]| before),
        &dilation,
        &[geometry.groups, shape.group_in_channels(), shape.group_out_channels()],
        &[shape.depth(), plane, batch * plane],
    ];
    fields.concat().into_iter().map(int).collect::<Result<_>>().map(Arg::Ints)
}

/// Checks that the sizes of a convolution with a nonempty output fit in the kernels' counters.
pub fn check(shape: &ConvShape) -> Result<()> {
    let ConvShape { batch, input, kernel, output, geometry, .. } = *shape;
    let product = |factors: &[usize]| factors.iter().fold(1usize, |product, n| product.saturating_mul(*n));
    let padded = |i: usize| geometry.padding[i].into_iter().fold(input[i], usize::saturating_add);
    let channels = shape.group_in_channels().next_multiple_of(PACKED_MULTIPLE);
    // The offsets of taps can lie below the last row, by at most the kernel's reach.
    let rows = (kernel[0] - 1).saturating_mul(geometry.dilation[0]).saturating_add(input[0]);
    for (what, count, maximum) in [
        ("rows with padding", padded(0), MAX_POSITIONS),
        ("columns with padding", padded(1), MAX_POSITIONS),
        ("elements in one group of an input image", product(&[channels, rows, input[1]]), MAX_ELEMENTS),
        ("elements in one output image", product(&[shape.out_channels, output[0], output[1]]), MAX_ELEMENTS),
        ("output pixels in a batch", product(&[batch, output[0], output[1]]), MAX_ELEMENTS),
        ("products in a sum", shape.depth(), MAX_DEPTH),
    ] {
        if count > maximum {
            bail!("conv2d: expected at most {maximum} {what} on a CUDA device, found {count}")
        }
    }
    Ok(())
}

/// Converts a size to a kernel argument of type `int`.
pub fn int(value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => bail!("conv2d: expected a size of at most {} on a CUDA device, found {value}", i32::MAX),
    }
}
