//! The order in which the register tiles read the weights.

use super::plan::Channels;
use crate::conv::ConvShape;
use crate::conv::cpu::is_finite;
use crate::memory::AlignedVec;
use crate::parallel::for_each_chunk;
use crate::simd::Isa;

/// The vectors of output channels of a panel; the last panel may have fewer.
pub(super) const PANEL_VECTORS: usize = 2;

/// A packed weight.
pub(super) struct Packed {
    pub floats: AlignedVec,
    /// Whether no weight is infinite or NaN, so that a product with a padding zero is zero.
    pub finite: bool,
}

/// `[out_channels, in_channels, kernel]` as `[chunk of input channels][panel][block of input
/// channels][tap][channel][output channels of the panel]`, zeros after the last output channel.
///
/// A block has `block` channels.
pub(super) fn pack(shape: &ConvShape, channels: &Channels, block: usize, weight: &[f32], isa: Isa) -> Packed {
    let mut packed =
        Packed { floats: AlignedVec::zeros(channels.weights_len(shape)), finite: is_finite(weight, isa) };
    let mut rest = &mut *packed.floats;
    for chunk in 0..channels.chunks() {
        let inputs = channels.chunk(chunk);
        let taps = inputs.len() * shape.kernel[0] * shape.kernel[1];
        let (panels, after) = rest.split_at_mut(taps * channels.padded_outputs);
        rest = after;
        let width = PANEL_VECTORS * channels.lanes;
        for_each_chunk(panels, (taps * width).max(1), |index, panel| {
            let first = index * width;
            let width = width.min(channels.padded_outputs - first);
            for output in first..shape.out_channels.min(first + width) {
                let from = &weight[output * shape.taps()..][..shape.taps()];
                let to = panel[output - first..].iter_mut().step_by(width);
                to.zip(order(shape, block, inputs.clone())).for_each(|(to, at)| *to = from[at]);
            }
        });
    }
    packed
}

/// The weights of one output channel in the order of the packed ones.
fn order(
    shape: &ConvShape,
    block: usize,
    inputs: std::ops::Range<usize>,
) -> impl Iterator<Item = usize> + use<> {
    let taps = shape.kernel[0] * shape.kernel[1];
    let end = inputs.end;
    inputs.step_by(block).flat_map(move |first| {
        let channels = first..end.min(first + block);
        (0..taps).flat_map(move |tap| channels.clone().map(move |channel| channel * taps + tap))
    })
}
