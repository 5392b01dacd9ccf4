//! Depthwise convolutions with lanes over pixels. Input and output are `Nchw`.
//!
//! [`rows`] divides the planes into bands, and widens f16 and bf16 to f32 band by band. With 3×3 weights and stride 1
//! or 2, it reads f32 in place. [`padded`] computes the bands of other kernels.

mod padded;
mod rows;

use std::borrow::Cow;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::operand::Call;
use crate::parallel::cost;
use crate::simd::{self, Isa, is_finite};

use super::for_each_range;
use rows::Bands;

/// Convolves into `output`. Returns `false` if a scaled weight is not finite.
pub(super) fn conv2d(shape: &ConvShape, call: &Call<'_>, isa: Isa, output: OutputPtr) -> bool {
    let weight = scaled_weight(call, shape.depth());
    if !is_finite(&weight, isa) {
        return false;
    }
    let writer = EpilogueWriter::new(call, shape.out_channels);
    if rows::reads_in_place(shape) {
        run(Bands::<true> { shape, input: call.input, weight: &weight, writer, output, bands: 0..0 }, isa);
    } else {
        run(Bands::<false> { shape, input: call.input, weight: &weight, writer, output, bands: 0..0 }, isa);
    }
    true
}

/// Computes all bands.
fn run<const IN_PLACE: bool>(bands: Bands<'_, IN_PLACE>, isa: Isa) {
    let elements = bands.shape.output_elements().max(bands.input.len());
    // The cost of an element is that of a 3×3 kernel.
    let elements = elements.saturating_mul((bands.shape.depth() / 9).max(1));
    for_each_range(rows::band_count(bands.shape), elements, 2 * cost::MIN_ELEMENTS, |range| {
        simd::dispatch_to(isa, Bands { bands: range, ..bands.clone() });
    });
}

/// Returns the weight multiplied by the scale of each channel. `taps` is the number of taps of a channel.
fn scaled_weight<'a>(call: &Call<'a>, taps: usize) -> Cow<'a, [f32]> {
    let weight = call.weight.widened();
    match call.scale {
        Some(scale) => {
            let channels = weight.chunks_exact(taps).zip(scale);
            Cow::Owned(channels.flat_map(|(taps, scale)| taps.iter().map(move |tap| tap * scale)).collect())
        }
        None => weight,
    }
}

/// Returns `true` if this kernel supports the shape.
pub(super) fn supports(shape: &ConvShape) -> bool {
    shape.group_in_channels() == 1 && (rows::reads_in_place(shape) || padded::supports(shape))
}
