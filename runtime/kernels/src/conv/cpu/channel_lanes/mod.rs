//! The register-tile kernel with lanes over output channels: some pixels × two vectors of output channels, to NCHWc.
//!
//! The inner loop ([`micro`]) multiplies one number of a pixel after another with the vectors of weights for its
//! channel, and the epilogue takes the sums from the registers. The input is NCHWc or NCHW; a pointwise convolution
//! reads NCHWc in place. A fused consumer reads the results of a panel while they are in a near cache.

mod micro;
mod task;

use super::epilogue::EpilogueWriter;
use super::fused_consumer::{Consumer, Windows};
use super::operand::Call;
use super::operand_format::OperandFormat;
use super::packed::{PackedForm, Packing};
use super::packed_weight::PackedWeight;
use super::partition::{Lanes, Limits, Order};
use super::plan::{OutputBlocks, Plan, PlanOptions, TileShape, is_pointwise};
use super::problem::{Algorithm, ConvProblem};
use super::task_input::TaskInput;
use crate::layout::Layout;
use crate::memory::{CACHE_LINE_FLOATS, Scratch};
use crate::parallel;
use crate::simd;
pub(super) use micro::tile_shape;
use task::Tasks;

/// Floats of the second-level cache that a panel of a chunk's weights may take.
const PANEL_FLOATS: usize = 64 << 10;
/// Floats of the same cache that the input of a task, and a patch's results in a panel, may take.
const INPUT_FLOATS: usize = 96 << 10;
const RESULT_FLOATS: usize = 64 << 10;
/// The output columns below which each column of the kernel has a plane of its own in the tile, so that a register
/// tile continues across the ends of rows.
const SHORT_ROW: usize = 5;

/// Where the results go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Output(*mut f32),
    /// To a fused consumer alone, through these windows.
    Consumer(&'a Consumer<'a>, Windows),
}

// SAFETY: tasks write disjoint elements, and read no others.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

/// Convolves into `target`. Returns `false` if the tile would be unreasonably large, if a weight that is not finite
/// would make NaN of the tile's padding, or if sums that a consumer reads are not whole after one chunk of channels.
pub(super) fn conv2d(
    problem: &ConvProblem,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    target: Target<'_>,
) -> bool {
    let (shape, isa, threads) = (&problem.shape, problem.isa, rayon::current_num_threads());
    let windows = match target {
        Target::Output(_) => None,
        Target::Consumer(_, windows) => Some(windows),
    };
    let key = (*problem, Algorithm::ChannelLanes, threads, windows);
    let plan = Packing::plan(packing, key, || Plan::new(shape, options(problem, windows), threads));
    let Some(plan) = &*plan else { return false };
    if windows.is_some() && plan.chunks.count() > 1 {
        return false;
    }
    let form = PackedForm::ChannelLanes {
        lanes: isa.lanes(),
        input_block: plan.input_block,
        chunk: plan.chunks.len(),
    };
    let weights = Packing::get(packing, form, || PackedWeight::new(plan, shape, call.weight, isa));
    if !weights.finite && shape.geometry.padding != [[0; 2]; 2] {
        return false;
    }
    let writer = EpilogueWriter::new(call, shape.out_channels);
    let (input, weights) = (TaskInput { plan, elements: call.input }, &weights.floats[..]);
    let floats = scratch_floats(plan, windows);
    parallel::for_each(plan.jobs(), &|job| {
        let mut scratch = Scratch::new(floats);
        let scratch = scratch.slices();
        simd::dispatch_to(isa, Tasks { plan, job, input, weights, writer, target, scratch });
    });
    true
}

/// Returns the kernel's decisions; a consumer reads the results through `windows`.
pub(super) fn options(problem: &ConvProblem, windows: Option<Windows>) -> PlanOptions {
    let shape = &problem.shape;
    let registers = TileShape::of(Lanes::Channels, problem.isa);
    let lanes = registers.lanes;
    let input_block = problem.input.block(lanes);
    PlanOptions {
        direction: Lanes::Channels,
        registers,
        operand: OperandFormat::F32,
        input_block,
        in_place: is_pointwise(shape) && problem.input == Layout::Nchwc,
        column_planes: shape.output[1] < SHORT_ROW,
        chunk: PANEL_FLOATS / (shape.kernel[0] * shape.kernel[1] * registers.outputs),
        blocks: output_blocks(shape.out_channels, registers),
        limits: Limits { input: INPUT_FLOATS, sums: RESULT_FLOATS, segments: 1 },
        windows,
        order: if shape.batch == 1 { Order::SegmentPatchImage } else { Order::PatchImageSegment },
    }
}

/// Returns panels of output channels, the last of whole vectors.
fn output_blocks(outputs: usize, registers: TileShape) -> OutputBlocks {
    OutputBlocks::new(outputs, registers.outputs, |rest| rest.next_multiple_of(registers.lanes))
}

/// Returns the floats of the tile, and of a patch's results in a panel that a consumer reads.
fn scratch_floats(plan: &Plan, windows: Option<Windows>) -> [usize; 2] {
    let tile = plan.tile.as_ref().map_or(0, |_| plan.tile_floats() + CACHE_LINE_FLOATS);
    let patches = plan.partition.patches.iter().map(|patch| patch.rows * patch.columns);
    let results = windows.map_or(0, |_| patches.max().unwrap_or(0) * plan.blocks.block);
    [tile, results]
}
