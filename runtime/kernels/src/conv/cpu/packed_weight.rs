//! The weight in the order in which the register tiles read it.

use std::ops::Range;
use std::sync::Arc;

use crate::conv::ConvShape;
use crate::memory::AlignedVec;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::Isa;

use super::elements::Elements;
use super::operand::Call;
use super::packed::{PackedOrder, Packing};
use super::plan::Plan;
use super::problem::ConvProblem;

/// A packed weight of a register-tile kernel.
pub(super) struct PackedWeight {
    pub floats: AlignedVec,
    /// Whether all weights are finite.
    pub is_finite: bool,
}

impl PackedWeight {
    /// Returns the packed weight of a call, or `None` if a weight is not finite and the input is padded: the product of
    /// this weight and a zero of the padding would be NaN.
    pub fn get(plan: &Plan, problem: &ConvProblem, call: &Call<'_>) -> Option<Arc<Self>> {
        let ConvProblem { shape, isa, .. } = problem;
        let order = PackedOrder::RegisterTiles {
            groups: shape.geometry.groups,
            output_blocks: plan.output_blocks,
            chunk_channels: plan.chunks.chunk_channels(),
            input_block: plan.input_block,
            operand: plan.operand,
        };
        let packed = Packing::get(call.packing, order, || Self::new(plan, shape, call.weight, *isa));
        (packed.is_finite || shape.geometry.padding == [[0; 2]; 2]).then_some(packed)
    }

    /// Packs a weight `[out_channels, in_channels / groups, kernel height, kernel width]` as `[group][chunk of input
    /// channels][block of output channels][block of input channels][tap][input channel][output channel]`, with zeros
    /// for the padding of the last block of output channels.
    fn new(plan: &Plan, shape: &ConvShape, weight: Elements<'_>, isa: Isa) -> Self {
        let operands = plan.operand.of_weight(shape, weight);
        let floats = AlignedVec::zeros(plan.packed_weight_len());
        let mut packed = Self { floats, is_finite: weight.is_finite(isa) };
        if operands.is_empty() {
            return packed;
        }
        let mut rest = &mut packed.floats[..];
        for group in 0..shape.geometry.groups {
            for chunk in 0..plan.chunks.count() {
                let in_channels = plan.chunks.range(chunk);
                let taps = in_channels.len() * plan.kernel_taps();
                let (blocks, after) = rest.split_at_mut(taps * plan.output_blocks.padded_channels());
                rest = after;
                let len = (taps * plan.output_blocks.block_channels).max(1);
                let pack = |index: usize, block: &mut [f32]| {
                    pack_block(
                        plan,
                        &operands,
                        group,
                        in_channels.clone(),
                        index * plan.output_blocks.block_channels,
                        block,
                    );
                };
                // Packing an element takes about as long as reading it in a vectorized loop.
                if operands.len() < cost::MIN_READ_ELEMENTS {
                    blocks.chunks_mut(len).enumerate().for_each(|(index, block)| pack(index, block));
                } else {
                    for_each_chunk(blocks, len, pack);
                }
            }
        }
        packed
    }
}

/// Packs the weights of the input channels `in_channels` for the block of output channels that starts with the group's
/// channel `first`.
fn pack_block(
    plan: &Plan,
    weight: &[f32],
    group: usize,
    in_channels: Range<usize>,
    first: usize,
    block: &mut [f32],
) {
    let (shape, width) = (&plan.shape, plan.output_blocks.width(first));
    for channel in plan.output_blocks.unpadded(first) {
        let from = &weight[(group * shape.group_out_channels() + channel) * shape.depth()..][..shape.depth()];
        let to = block[channel - first..].iter_mut().step_by(width);
        if plan.input_block == 1 {
            to.zip(&from[in_channels.start * plan.kernel_taps()..]).for_each(|(to, from)| *to = *from);
        } else {
            to.zip(packed_order(plan, in_channels.clone())).for_each(|(to, at)| *to = from[at]);
        }
    }
}

/// Returns the indices of one output channel's weights in packed order.
fn packed_order(plan: &Plan, in_channels: Range<usize>) -> impl Iterator<Item = usize> + use<> {
    let (taps, block, end) = (plan.kernel_taps(), plan.input_block, in_channels.end);
    in_channels.step_by(block).flat_map(move |first| {
        let channels = first..end.min(first + block);
        (0..taps).flat_map(move |tap| channels.clone().map(move |channel| channel * taps + tap))
    })
}
