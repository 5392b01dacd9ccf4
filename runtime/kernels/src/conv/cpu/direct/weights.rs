//! The order in which the micro-kernel reads the weights.

use super::plan::Plan;
use crate::conv::ConvShape;
use crate::conv::cpu::Pixels;
use crate::simd::Isa;
use rayon::prelude::*;

/// A packed weight.
pub(super) struct Packed {
    /// Words as the tile's.
    pub floats: Vec<f32>,
    /// Whether no weight is infinite or NaN, so that a product with a padding zero is zero.
    pub finite: bool,
}

/// `[out_channels, in_channels, kernel]` as `[groups][chunks][blocks][taps of the chunk][channels of the
/// block]`. The last block of a group may be narrower, and ends with zeros where it is wider than the
/// channels that are left.
pub(super) fn pack(plan: &Plan, shape: &ConvShape, weight: Pixels<'_>, isa: Isa) -> Packed {
    let words = plan.words.of_weight(shape, weight);
    let floats = if words.is_empty() { vec![] } else { blocks(plan, &words) };
    Packed { floats, finite: weight.is_finite(isa) }
}

fn blocks(plan: &Plan, weight: &[f32]) -> Vec<f32> {
    let shape = &plan.shape;
    let mut packed = vec![0.; plan.weights_len()];
    let mut jobs = vec![];
    let mut rest = &mut packed[..];
    for group in 0..shape.geometry.groups {
        for chunk in 0..plan.chunks() {
            for first in (0..shape.group_outputs()).step_by(plan.block) {
                let taps = plan.chunk(chunk).len() * plan.kernel_taps();
                let (block, after) = rest.split_at_mut(taps * plan.width_of_block(first));
                rest = after;
                jobs.push((group, chunk, first, block));
            }
        }
    }
    let pack = |(group, chunk, first, block): (usize, usize, usize, &mut [f32])| {
        let width = plan.width_of_block(first);
        let start = plan.chunk(chunk).start * plan.kernel_taps();
        let channels = width.min(shape.group_outputs() - first);
        for m in 0..channels {
            let row = &weight[(group * shape.group_outputs() + first + m) * shape.taps() + start..];
            block[m..].iter_mut().step_by(width).zip(row).for_each(|(to, from)| *to = *from);
        }
    };
    if weight.len() < SERIAL_BELOW {
        jobs.into_iter().for_each(pack);
    } else {
        jobs.into_par_iter().for_each(pack);
    }
    packed
}

/// Packing fewer floats than this is not worth another thread.
const SERIAL_BELOW: usize = 1 << 16;
