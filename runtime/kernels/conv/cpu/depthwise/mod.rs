//! 3×3 kernels that each see one input channel: the depthwise convolutions of mobile networks.
//!
//! There are so few products to an element that the way of the elements through the registers is all that
//! counts: no tile is made, [`rows`] reads the input where it lies.

mod rows;

use super::finish::Finish;
use super::finite::is_finite;
use super::operand::Values;
use super::{Output, reserve};
use crate::kernels::activation::Activation;
use crate::kernels::conv::ConvShape;
use crate::kernels::parallel;
use crate::kernels::simd::{self, Isa};
use candle_core::Result;
use rows::Bands;

/// Elements, of the input or the output, that one hand-out to a thread should have.
const HAND_OUT: usize = 1 << 15;

/// The output `[batch, out_channels, height, width]`, or `None` for what this kernel is not for: other
/// kernels and strides, and weights that turn padding into NaN.
pub(super) fn conv2d(
    shape: &ConvShape,
    values: &Values<'_, f32>,
    activation: Activation,
    isa: Isa,
) -> Result<Option<Vec<f32>>> {
    if !is_suitable(shape) || !is_finite(&values.weight, isa) {
        return Ok(None);
    }
    let mut output = reserve(shape.output_elements())?;
    let bands = Bands {
        shape,
        input: &values.input,
        weight: &values.weight,
        finish: Finish::of(values, activation),
        output: Output(output.as_mut_ptr()),
        bands: 0..Bands::count(shape),
    };
    let elements = shape.output_elements().max(values.input.len());
    let hand_outs = parallel::hand_outs(elements / HAND_OUT).min(bands.bands.len());
    let bound = |hand_out: usize| hand_out * bands.bands.len() / hand_outs.max(1);
    parallel::for_each(hand_outs, &|hand_out| {
        simd::dispatch_to(isa, Bands { bands: bound(hand_out)..bound(hand_out + 1), ..bands.clone() });
    });
    // SAFETY: every output element belongs to one of the bands, and they have all been computed.
    unsafe { output.set_len(shape.output_elements()) };
    Ok(Some(output))
}

fn is_suitable(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    let strides = [[1; 2], [2; 2]];
    shape.group_inputs() == 1
        && shape.kernel == [3; 2]
        && geometry.dilation == [1; 2]
        && strides.contains(&geometry.stride)
}
