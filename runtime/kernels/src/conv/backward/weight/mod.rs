//! The gradient of the weight, `[outputs, inputs of a group, height, width]`: for each output channel and
//! each tap, the sum over all pixels of the output's gradient times the input under the tap.

pub(super) mod dots;
pub(super) mod outer;

use super::extent::Extent;

/// Output channels of a group from which on vectors of them are not mostly empty.
const VECTOR_OF_CHANNELS: usize = 8;

/// Whether the sums are made of outer products, channels by taps, and not one by one.
pub(super) fn by_outer_products(extent: &Extent) -> bool {
    extent.outputs >= VECTOR_OF_CHANNELS
}
