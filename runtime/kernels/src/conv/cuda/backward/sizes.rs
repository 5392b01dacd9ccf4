//! The sizes of a convolution as kernel arguments.

use crate::conv::ConvShape;
use crate::cuda::Arg;
use candle_core::{Result, bail};

/// The maximum number of pixels, weights, rows or columns. Kernels count in an `int`. The last tile, and the
/// last of the parts into which the pixels are partitioned, may extend beyond the count.
const MAX_COUNT: usize = 1 << 30;

/// Returns the structure `Conv` of `conv_backward.cuh`.
pub(super) fn conv(shape: &ConvShape) -> Result<Arg> {
    let ConvShape { batch, input, kernel, output, geometry, .. } = *shape;
    let pixels = |size: [usize; 2]| size[0].saturating_mul(size[1]).saturating_mul(batch.max(1));
    let weights = shape.weight_dims().into_iter().fold(1, usize::saturating_mul);
    let padded = |i: usize| input[i].saturating_add(geometry.padding[i][0].max(geometry.padding[i][1]));
    for (what, count) in [
        ("pixels in a batch's inputs", pixels(input)),
        ("pixels in a batch's outputs", pixels(output)),
        ("weights", weights),
        ("input rows with padding", padded(0)),
        ("input columns with padding", padded(1)),
    ] {
        if count > MAX_COUNT {
            bail!("conv2d backward: expected at most {MAX_COUNT} {what} on a CUDA device, found {count}")
        }
    }
    let padding = geometry.padding.map(|padding| padding[0]);
    // Along an axis, the taps that read one phase are `step` taps apart.
    let step = [0, 1].map(|i| geometry.stride[i] / gcd(geometry.stride[i], geometry.dilation[i]));
    let sizes = [batch, geometry.groups, shape.group_in_channels(), shape.group_out_channels()];
    let axes = [input, kernel, output, geometry.stride, geometry.dilation, padding, step];
    sizes.into_iter().chain(axes.into_iter().flatten()).map(int).collect::<Result<_>>().map(Arg::Ints)
}

/// Converts a size to a kernel argument of type `int`.
pub(super) fn int(value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => {
            bail!("conv2d backward: expected a size of at most {} on a CUDA device, found {value}", i32::MAX)
        }
    }
}

/// Returns the greatest common divisor.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
