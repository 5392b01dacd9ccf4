//! The register-tile kernel with lanes over output channels. Its register tile is several pixels × one or two vectors
//! of output channels. Its output is `Nchwc`.
//!
//! In this module, a *panel* is a block of one or two vectors of output channels, and a *plane* is the image `[height,
//! width, LANES]` of one vector of output channels. [`InputTileSize`](super::tile::InputTileSize) defines the *column
//! planes* of the input tile.
//!
//! The inner loop ([`micro`]) multiplies each element of a pixel by the vectors of weights for its channel. The
//! epilogue is applied to the sums in registers. The input is `Nchwc` or `Nchw`. A pointwise convolution reads `Nchwc`
//! in place. A fused consumer reads the results of a panel while they are in the L1 or L2 cache.

mod micro;
mod task;

use crate::layout::Layout;
use crate::memory::{CACHE_LINE_FLOATS, Scratch};
use crate::parallel;
use crate::simd;

use super::elements::OutputPtr;
use super::epilogue::EpilogueWriter;
use super::fused_consumer::{Consumer, Windows};
use super::operand::Call;
use super::operand_format::OperandFormat;
use super::packed::Packing;
use super::packed_weight::PackedWeight;
use super::partition::{LaneAxis, Limits, Order};
use super::plan::{OutputBlocks, Plan, PlanOptions, RegisterTileShape, is_pointwise};
use super::problem::{Algorithm, ConvProblem};
use super::task_input::TaskInput;
pub(super) use micro::register_tile_shape;
use task::Tasks;

/// The maximum number of floats of a chunk's weights in one panel. They stay in the L2 cache.
const PANEL_FLOATS: usize = 64 << 10;
/// The maximum number of floats of a task's input, which stays in the L2 cache.
const INPUT_FLOATS: usize = 96 << 10;
/// The maximum number of floats in the results of one panel and one patch. A fused consumer reads them from the L2
/// cache.
const RESULT_FLOATS: usize = 64 << 10;
/// With fewer output columns than this, each column of the kernel has its own column plane in the input tile, so that a
/// register tile can continue across the ends of rows.
const MIN_ROW_COLUMNS: usize = 5;

/// The destination of the results.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// An `Nchwc` output.
    Output(OutputPtr),
    /// A fused consumer, which reads the results through these windows. The results are not written to an output.
    Consumer(&'a Consumer<'a>, Windows),
}

/// Convolves into `target`. Returns `false` if the input tile would be too large, if [`PackedWeight::get`] returns
/// `None`, or if there is a consumer and the input channels do not fit in one chunk.
pub(super) fn conv2d(problem: &ConvProblem, call: &Call<'_>, target: Target<'_>) -> bool {
    let (shape, isa, threads) = (&problem.shape, problem.isa, rayon::current_num_threads());
    let windows = match target {
        Target::Output(_) => None,
        Target::Consumer(_, windows) => Some(windows),
    };
    let key = (*problem, Algorithm::ChannelLanes, threads, windows);
    let plan = Packing::plan(call.packing, key, || Plan::new(shape, &options(problem, windows), threads));
    let Some(plan) = &*plan else { return false };
    if windows.is_some() && plan.chunks.count() > 1 {
        return false;
    }
    let Some(weights) = PackedWeight::get(plan, problem, call) else { return false };
    let writer = EpilogueWriter::new(call, shape.out_channels);
    let (input, weights) = (TaskInput { plan, elements: call.input }, &weights.floats[..]);
    let floats = scratch_floats(plan, windows);
    parallel::for_each(plan.task_groups(), &|task_group| {
        let mut scratch = Scratch::new(floats);
        let scratch = scratch.slices();
        simd::dispatch_to(isa, Tasks { plan, task_group, input, weights, writer, target, scratch });
    });
    true
}

/// Returns the options of the kernel's plan. `windows` are the windows of a fused consumer.
pub(super) fn options(problem: &ConvProblem, windows: Option<Windows>) -> PlanOptions {
    let shape = &problem.shape;
    let register_tile = RegisterTileShape::of(LaneAxis::Channels, problem.isa);
    let lanes = register_tile.lanes;
    let input_block = problem.input.block(lanes);
    PlanOptions {
        lane_axis: LaneAxis::Channels,
        register_tile,
        operand: OperandFormat::F32,
        input_block,
        in_place: is_pointwise(shape) && problem.input == Layout::Nchwc,
        column_planes: shape.output[1] < MIN_ROW_COLUMNS,
        max_chunk_channels: PANEL_FLOATS / (shape.kernel[0] * shape.kernel[1] * register_tile.channels),
        output_blocks: output_blocks(shape.out_channels, register_tile),
        limits: Limits { input: INPUT_FLOATS, sums: RESULT_FLOATS, min_segments: 1 },
        windows,
        order: if shape.batch == 1 { Order::SegmentPatchImage } else { Order::PatchImageSegment },
    }
}

/// Divides the output channels into panels. The last panel may have fewer vectors.
fn output_blocks(out_channels: usize, register_tile: RegisterTileShape) -> OutputBlocks {
    OutputBlocks::new(out_channels, register_tile.channels, |rest| rest.next_multiple_of(register_tile.lanes))
}

/// Returns the number of floats of the input tile and, if there is a consumer, the number of floats of a patch's
/// results in one panel.
fn scratch_floats(plan: &Plan, windows: Option<Windows>) -> [usize; 2] {
    let tile = plan.input_tile.as_ref().map_or(0, |_| plan.tile_floats() + CACHE_LINE_FLOATS);
    let patches = plan.partition.patches.iter().map(|patch| patch.rows * patch.columns);
    let results = windows.map_or(0, |_| patches.max().unwrap_or(0) * plan.output_blocks.block_channels);
    [tile, results]
}
