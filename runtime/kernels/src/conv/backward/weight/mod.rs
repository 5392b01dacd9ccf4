//! The gradient of the weight, `[out_channels, in_channels / groups, kernel height, kernel width]`. An element of it
//! belongs to an output channel, an input channel and a tap. Each output pixel contributes one product to the element:
//! the output's gradient times the input that the pixel reads under the tap.

pub(super) mod dots;
pub(super) mod outer;

use super::extent::Extent;

/// The minimum number of output channels in a group for outer products. Their vectors run along the output channels, so
/// with fewer channels, most lanes would be unused.
const MIN_VECTOR_CHANNELS: usize = 8;

/// Returns `true` if [`outer`] computes the gradient, and `false` if [`dots`] computes it.
pub(super) fn use_outer_products(extent: &Extent) -> bool {
    extent.group_out_channels >= MIN_VECTOR_CHANNELS
}
