//! The structures that the kernels take by value, and the sizes that they can count.

use crate::conv::ConvShape;
use crate::cuda::Arg;
use candle_core::{Result, bail};

/// Rows and columns with padding stay below it: half of `OUTSIDE` in `gather.cuh`.
const MOST_PLACES: usize = 1 << 29;
/// Pixels and elements that one `int` counts, with room for a last tile beyond them.
const MOST_ELEMENTS: usize = 1 << 30;
/// The most that a packed layout rounds channels up to.
const PACKED: usize = 8;
/// Products in one sum: so that the offsets within a tile of the weight are `int`s.
const MOST_DEPTH: usize = 1 << 23;

/// The structure `ConvSizes` of a shape that `check` has let pass.
pub fn sizes(shape: &ConvShape) -> Result<Arg> {
    let ConvShape { batch, in_channels, out_channels, input, kernel, output, geometry } = *shape;
    let plane = output[0] * output[1];
    // What nobody steps over may be of any size: it is cut.
    let [stride, dilation] =
        [geometry.stride, geometry.dilation].map(|pair| pair.map(|n| n.min(MOST_PLACES)));
    let fields = [
        &[batch, in_channels, out_channels][..],
        &input,
        &output,
        &kernel,
        &stride,
        &geometry.padding.map(|[before, _]| before),
        &dilation,
        &[geometry.groups, shape.group_inputs(), shape.group_outputs()],
        &[shape.taps(), plane, batch * plane],
    ];
    fields.concat().into_iter().map(int).collect::<Result<_>>().map(Arg::Ints)
}

/// Checks that the kernels can count all sizes of a convolution with outputs.
pub fn check(shape: &ConvShape) -> Result<()> {
    let ConvShape { batch, input, kernel, output, geometry, .. } = *shape;
    let product = |factors: &[usize]| factors.iter().fold(1usize, |product, n| product.saturating_mul(*n));
    let padded = |i: usize| geometry.padding[i].into_iter().fold(input[i], usize::saturating_add);
    // With channels as a packed layout has them.
    let channels = shape.group_inputs().next_multiple_of(PACKED);
    let rows = (kernel[0] - 1).saturating_mul(geometry.dilation[0]).saturating_add(input[0]);
    for (what, count, most) in [
        ("rows with padding", padded(0), MOST_PLACES),
        ("columns with padding", padded(1), MOST_PLACES),
        ("elements in an input's group", product(&[channels, rows, input[1]]), MOST_ELEMENTS),
        (
            "elements in an image's output",
            product(&[shape.out_channels, output[0], output[1]]),
            MOST_ELEMENTS,
        ),
        ("output pixels in a batch", product(&[batch, output[0], output[1]]), MOST_ELEMENTS),
        ("products in a sum", shape.taps(), MOST_DEPTH),
    ] {
        if count > most {
            bail!("conv2d: expected at most {most} {what} on a CUDA device, got {count}")
        }
    }
    Ok(())
}

/// A kernel's `int`.
pub fn int(value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => bail!("conv2d: expected a size of at most {} on a CUDA device, got {value}", i32::MAX),
    }
}
