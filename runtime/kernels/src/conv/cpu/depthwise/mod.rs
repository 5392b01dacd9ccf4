//! 3×3 kernels that each see one input channel: the depthwise convolutions of mobile networks.
//!
//! There are so few products to an element that the way of the elements through the registers is all that
//! counts: no tile is made, [`rows`] reads the input where it lies, or a band of rows that are widened halves.

mod rows;

use super::Output;
use super::finish::Finish;
use super::finite::is_finite;
use super::operand::Call;
use crate::conv::ConvShape;
use crate::parallel;
use crate::simd::{self, Isa};
use rows::Bands;
use std::borrow::Cow;

/// Elements, of the input or the output, that one hand-out to a thread should have.
const HAND_OUT: usize = 1 << 15;

/// Writes the output `[batch, out_channels, height, width]` of a [suitable](is_suitable) convolution, unless the
/// weight turns padding into NaN.
pub(super) fn conv2d(shape: &ConvShape, call: &Call<'_>, isa: Isa, output: Output) -> bool {
    let weight = scaled(call);
    if !is_finite(&weight, isa) {
        return false;
    }
    let bands = Bands {
        shape,
        input: call.input,
        weight: &weight,
        finish: Finish::of(call),
        output,
        bands: 0..Bands::count(shape),
    };
    let elements = shape.output_elements().max(call.input.len());
    let hand_outs = parallel::hand_outs(elements / HAND_OUT).min(bands.bands.len());
    let bound = |hand_out: usize| hand_out * bands.bands.len() / hand_outs.max(1);
    parallel::for_each(hand_outs, &|hand_out| {
        simd::dispatch_to(isa, Bands { bands: bound(hand_out)..bound(hand_out + 1), ..bands.clone() });
    });
    true
}

/// The weight times the scale of its channel.
fn scaled<'a>(call: &'a Call<'_>) -> Cow<'a, [f32]> {
    let weight = call.weight.widened();
    match &call.scale {
        Some(scale) => {
            let channels = weight.chunks_exact(9).zip(scale.iter());
            Cow::Owned(channels.flat_map(|(taps, scale)| taps.iter().map(move |tap| tap * scale)).collect())
        }
        None => weight,
    }
}

/// Whether it is a convolution that this kernel is for.
pub(super) fn is_suitable(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    let strides = [[1; 2], [2; 2]];
    shape.group_inputs() == 1
        && shape.kernel == [3; 2]
        && geometry.dilation == [1; 2]
        && strides.contains(&geometry.stride)
}
