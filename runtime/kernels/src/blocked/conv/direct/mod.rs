//! The direct convolution: register tiles of some pixels × two vectors of output channels.
//!
//! A [`Plan`] cuts the work into tasks, each a patch of output pixels times a run of output channels. A task
//! copies what it reads of the input, a chunk of its channels at a time, into a zero-padded [`tile`]; a
//! pointwise convolution reads the input itself. Then the inner loop ([`micro`]) multiplies one number of a
//! pixel after another with the vectors of weights for its channel, and the epilogue takes the sums as they
//! are, in registers.

mod cut;
mod micro;
mod plan;
mod task;
mod tile;
mod weights;

use super::behind::{Follower, Windows};
use super::finish::Finish;
use super::{Epilogue, Input, Output, Weight};
use crate::conv::ConvShape;
use crate::conv::cpu::{Form, Packing, Planned};
use crate::memory::Scratch;
use crate::parallel;
use crate::simd::{self, Isa};
use plan::Plan;
use task::Task;

/// Where the results go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Output(Output),
    /// Nowhere but through these windows.
    Behind {
        windows: Windows,
        follower: &'a Follower<'a>,
    },
}

/// Whether the convolution was this kernel's: not where the weight turns a tile's padding into NaN, nor where
/// sums that others are to read would not stay in a near cache until they are whole.
pub(super) fn conv2d(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    target: Target<'_>,
    isa: Isa,
) -> bool {
    let (threads, planes) = (rayon::current_num_threads(), matches!(input, Input::Planes(_)));
    let windows = match target {
        Target::Output(_) => None,
        Target::Behind { windows, .. } => Some(windows),
    };
    let new = || Plan::new(shape, planes, windows, isa, threads);
    let key = (*shape, isa, threads, Planned::Blocked { planes, windows });
    let plan = Packing::plan(weight.packing, key, new);
    if windows.is_some() && plan.channels.chunks() > 1 {
        return false;
    }
    let form =
        Form::Lanes { lanes: plan.channels.lanes, block: plan.block(), chunk: plan.channels.chunk_len() };
    let packed = Packing::get(weight.packing, form, || {
        weights::pack(&plan.shape, &plan.channels, plan.block(), weight.values, isa)
    });
    if !packed.finite && shape.geometry.padding != [[0; 2]; 2] {
        return false;
    }
    let finish = Finish::new(epilogue, shape.out_channels);
    let weights = &packed.floats[..];
    parallel::for_each(plan.tasks(), &|index| {
        let mut scratch = Scratch::new([plan.scratch_len()]);
        let (plan, [scratch]) = (&*plan, scratch.slices());
        simd::dispatch_to(isa, Task { plan, index, input, weights, finish, target, scratch });
    });
    true
}
