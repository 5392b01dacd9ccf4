//! The direct convolution for f32: register blocks of output channels × output pixels.
//!
//! A [`Plan`] cuts the work into tasks, each a block of output pixels times a run of output channels.
//! A task copies the input it reads, a few channels at a time, into a zero-padded [`tile`] that stays in
//! cache; there every product of every tap is a vector load at a fixed offset, so that stride, padding
//! and dilation cost the inner loop ([`micro`]) nothing. A pointwise convolution reads the input itself. [`Finish`] applies the epilogue to each register
//! block while it is still in the first-level cache.

mod cut;
mod micro;
mod plan;
mod scratch;
mod strips;
mod task;
mod tile;
mod weights;

use super::finish::Finish;
use super::operand::Values;
use super::packed::{Form, Packing};
use super::{Output, reserve};
use crate::kernels::activation::Activation;
use crate::kernels::conv::ConvShape;
use crate::kernels::parallel;
use crate::kernels::simd::{self, Isa};
use candle_core::Result;
use plan::Plan;
use task::Tasks;

/// The output `[batch, out_channels, height, width]`, or `None` for operands that this kernel is not for:
/// tiles that are unreasonably large, and weights that turn the tiles' padding into NaN.
pub(super) fn conv2d(
    shape: &ConvShape,
    values: &Values<'_, f32>,
    activation: Activation,
    packing: Option<Packing<'_>>,
    isa: Isa,
) -> Result<Option<Vec<f32>>> {
    let mut output = reserve(shape.output_elements())?;
    if output.capacity() == 0 {
        return Ok(Some(output));
    }
    let threads = rayon::current_num_threads();
    let plan = Packing::plan(packing, (*shape, isa, threads), || Plan::new(shape, isa, threads));
    let Some(plan) = &*plan else { return Ok(None) };
    let groups = shape.geometry.groups;
    let form = Form::Blocked { groups, block: plan.block, chunk: plan.chunk_len() };
    let weights = Packing::get(packing, form, || weights::pack(plan, &values.weight, isa));
    if !weights.finite && shape.geometry.padding != [[0; 2]; 2] {
        return Ok(None);
    }
    let finish = Finish::of(values, activation);
    let target = Output(output.as_mut_ptr());
    let run = |hand_out: usize| {
        let (input, weights) = (&*values.input, &weights.floats[..]);
        let indices = plan.tasks(hand_out);
        simd::dispatch_to(isa, Tasks { plan, indices, input, weights, finish, output: target });
    };
    parallel::for_each(plan.hand_outs, &run);
    // SAFETY: every output element belongs to one of the tasks, and they have all run.
    unsafe { output.set_len(shape.output_elements()) };
    Ok(Some(output))
}
