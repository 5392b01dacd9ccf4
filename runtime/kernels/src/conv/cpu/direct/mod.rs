//! The direct convolution for f32: register blocks of output channels × output pixels.
//!
//! A [`Plan`] cuts the work into tasks, each a block of output pixels times a run of output channels.
//! A task copies the input it reads, a few channels at a time, into a zero-padded [`tile`] that stays in
//! cache; there every product of every tap is a vector load at a fixed offset, so that stride, padding
//! and dilation cost the inner loop ([`micro`]) nothing. A pointwise convolution of f32 reads the input itself;
//! halves become [`words`] on their way into the tile. [`Finish`] applies the epilogue to each register block
//! while it is still in the first-level cache.

mod cut;
mod micro;
mod plan;
mod strips;
mod task;
mod tile;
mod weights;
mod words;

use super::Output;
use super::finish::Finish;
use super::operand::Call;
use super::packed::{Form, Packing, Planned};
use crate::conv::ConvShape;
use crate::parallel;
use crate::simd::{self, Isa};
use micro::{Measure, RegisterBlock};
use plan::Plan;
pub(super) use plan::can_be_in_place;
use task::{Pairs, Tasks};
pub(super) use words::Words;

/// Writes the output `[batch, out_channels, height, width]`, unless the operands are not for this kernel: tiles
/// that are unreasonably large, and weights that turn the tiles' padding into NaN. `in_place` is for f32 that
/// [can be](can_be_in_place) read so.
pub(super) fn conv2d(
    shape: &ConvShape,
    in_place: bool,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    isa: Isa,
    output: Output,
) -> bool {
    let (threads, words) = (rayon::current_num_threads(), Words::of(call.input.stored(), shape, isa));
    let in_place = in_place && words == Words::Singles && can_be_in_place(shape, isa);
    let key = (*shape, isa, threads, Planned::Direct { words, in_place });
    let plan = Packing::plan(packing, key, || Plan::new(shape, isa, threads, words, in_place));
    let Some(plan) = &*plan else { return false };
    let weights = Packing::get(packing, form(plan), || weights::pack(plan, shape, call.weight, isa));
    if !weights.finite && shape.geometry.padding != [[0; 2]; 2] {
        return false;
    }
    let finish = Finish::of(call);
    let run = |hand_out: usize| {
        let (input, weights) = (call.input, &weights.floats[..]);
        let tasks = Tasks { plan, indices: plan.tasks(hand_out), input, weights, finish, output };
        match words {
            Words::Pairs => simd::dispatch_pairs(isa, Pairs(tasks)).unwrap_or_default(),
            Words::Singles | Words::Widened => simd::dispatch_to(isa, tasks),
        }
    };
    parallel::for_each(plan.hand_outs, &run);
    true
}

fn form(plan: &Plan) -> Form {
    let pairs = plan.words == Words::Pairs;
    Form::Blocked { groups: plan.shape.geometry.groups, block: plan.block, chunk: plan.chunk_len(), pairs }
}

/// Lanes of a vector of this instruction set.
pub(super) fn lanes(isa: Isa) -> usize {
    registers(isa).lanes
}

/// Output channels of a group with those that its last register block leaves over.
pub(super) fn padded_outputs(outputs: usize, isa: Isa) -> usize {
    plan::padded(outputs, plan::width_of_block(outputs, registers(isa).channels))
}

/// Into how many chunks the input channels of a group are cut.
pub(super) fn chunks(shape: &ConvShape, isa: Isa) -> usize {
    cut::chunks(shape, registers(isa))
}

/// Floats that are copied into tiles for each input channel, all patches and tasks together.
pub(super) fn copied(shape: &ConvShape, isa: Isa) -> usize {
    cut::copied(shape, registers(isa).lanes)
}

fn registers(isa: Isa) -> RegisterBlock {
    simd::dispatch_to(isa, Measure)
}
