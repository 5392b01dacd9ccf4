//! The register-tile kernel with lanes over pixels. Its register tile is a block of output channels × one or more
//! vectors of output pixels. Input and output are `Nchw`.
//!
//! The pixels for each tap are vectors at a fixed offset in the input tile, so stride, padding and dilation cost the
//! inner loop ([`micro`]) nothing. A pointwise convolution of f32 can read the input in place. Sums stay in the caches
//! until the epilogue turns them into results.

mod micro;
mod task;
mod tile_pixels;

use crate::conv::ConvShape;
use crate::layout::Layout;
use crate::parallel;
use crate::simd::{self, Isa};

use super::elements::OutputPtr;
use super::epilogue::EpilogueWriter;
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
use tile_pixels::TilePixels;

/// The maximum number of bytes of the input that a register tile reads for one chunk. They stay in the L1 cache.
const TILE_INPUT_BYTES: usize = 32 << 10;
/// The maximum number of floats of a task's input tile, and of its sums. Both stay in the L2 cache.
const CACHE_FLOATS: usize = 48 << 10;
/// The maximum number of output channels of a segment.
const SEGMENT_CHANNELS: usize = 128;

/// A plan with the register tiles of its patches.
struct TiledPlan {
    plan: Plan,
    /// The pixels of the register tiles of each patch.
    tiles: Vec<Vec<TilePixels>>,
    /// The lengths of three buffers in floats: the input tile, including the lanes that the last register tile reads
    /// beyond its end; the sums; and, unless the input is f32, the pixels of one channel that a patch reads, converted
    /// to f32 or to pairs of bf16.
    scratch: [usize; 3],
}

/// Convolves into `output`. `algorithm` is one of the two with lanes over pixels. Returns `false` if the input tile
/// would be too large, or if [`PackedWeight::get`] returns `None`.
pub(super) fn conv2d(
    problem: &ConvProblem,
    algorithm: Algorithm,
    call: &Call<'_>,
    output: OutputPtr,
) -> bool {
    let (isa, threads) = (problem.isa, rayon::current_num_threads());
    let in_place = algorithm == Algorithm::PixelLanesInPlace;
    let key = (*problem, algorithm, threads, None);
    let tiled_plan = Packing::plan(call.packing, key, || TiledPlan::new(problem, in_place, threads));
    let Some(tiled_plan) = &*tiled_plan else { return false };
    let plan = &tiled_plan.plan;
    let Some(weights) = PackedWeight::get(plan, problem, call) else { return false };
    let writer = EpilogueWriter::new(call, problem.shape.out_channels);
    let (input, weights) = (TaskInput { plan, elements: call.input }, &weights.floats[..]);
    parallel::for_each(plan.task_groups(), &|task_group| {
        if plan.operand == OperandFormat::Bf16Pairs {
            let tasks = Tasks::<true> { tiled_plan, task_group, input, weights, writer, output };
            // The result is never `None`: the format is `Bf16Pairs` only if the instruction set has pairs.
            simd::dispatch_pairs(isa, tasks).unwrap_or_default();
        } else {
            simd::dispatch_to(isa, Tasks::<false> { tiled_plan, task_group, input, weights, writer, output });
        }
    });
    true
}

impl TiledPlan {
    fn new(problem: &ConvProblem, in_place: bool, threads: usize) -> Option<Self> {
        let options = options(problem, in_place);
        let register_tile = options.register_tile;
        let plan = Plan::new(&problem.shape, &options, threads)?;
        let tiles =
            plan.partition.patches.iter().map(|patch| tile_pixels::of_patch(&plan, patch, register_tile));
        let tiles: Vec<_> = tiles.collect();
        let scratch = scratch_floats(&plan, &tiles, register_tile);
        Some(Self { plan, tiles, scratch })
    }
}

/// Returns the options of the kernel's plan. If `in_place` is set, the kernel reads the pixels of a pointwise
/// convolution from the input.
pub(super) fn options(problem: &ConvProblem, in_place: bool) -> PlanOptions {
    let register_tile = RegisterTileShape::of(LaneAxis::Pixels, problem.isa);
    let operand = problem.operand_format();
    // A pair of input channels in bf16 counts as one channel.
    let shape = operand.shape_in_words(&problem.shape);
    let out_channels = shape.group_out_channels();
    let flat = is_pointwise(&shape);
    let width = if flat { shape.output[0] * shape.output[1] } else { shape.output[1] };
    PlanOptions {
        lane_axis: LaneAxis::Pixels,
        register_tile,
        operand,
        input_block: Layout::Nchw.block(register_tile.lanes),
        in_place: in_place && operand == OperandFormat::F32,
        // Unless rows are whole vectors, a vector can continue in the next row only if each column of the kernel has a
        // copy of the input without gaps between the rows.
        column_planes: !width.is_multiple_of(register_tile.lanes),
        max_chunk_channels: max_chunk_channels(&shape, register_tile),
        output_blocks: output_blocks(out_channels, register_tile),
        limits: Limits {
            input: CACHE_FLOATS,
            sums: CACHE_FLOATS,
            min_segments: out_channels.div_ceil(SEGMENT_CHANNELS),
        },
        windows: None,
        order: Order::PatchSegmentImage,
    }
}

/// Returns [`TiledPlan::scratch`].
fn scratch_floats(plan: &Plan, tiles: &[Vec<TilePixels>], register_tile: RegisterTileShape) -> [usize; 3] {
    let RegisterTileShape { pixels, lanes, .. } = register_tile;
    // With several chunks, a task keeps the sums of all of its register tiles.
    let register_tiles = match plan.chunks.count() {
        1 => 1,
        _ => {
            plan.partition.segment_channels() / plan.output_blocks.block_channels
                * tiles.iter().map(Vec::len).max().unwrap_or(0)
        }
    };
    let sums = register_tiles * plan.output_blocks.block_channels * pixels;
    let Some(tile) = &plan.input_tile else { return [0, sums, 0] };
    let end = tiles.iter().flatten().map(|tile| tile.end(lanes)).max().unwrap_or(0);
    let last = plan.taps.iter().flatten().map(|tap| tap.offset as usize).max().unwrap_or(0);
    let floats = plan.tile_floats().max(end + last) + lanes;
    let windows =
        plan.partition.patches.iter().map(|patch| tile.window(&plan.shape, patch, lanes).words(lanes));
    let converted = if plan.operand == OperandFormat::F32 { 0 } else { windows.max().unwrap_or(0) };
    [floats, sums, converted]
}

impl ConvProblem {
    /// Returns the operand format of the kernel with lanes over pixels.
    pub(super) fn operand_format(&self) -> OperandFormat {
        OperandFormat::of(self.format, &self.shape, self.isa)
    }
}

/// Returns `true` if the convolution is pointwise and each plane has at least a vector of pixels, so that the input can
/// be read in place.
pub(super) fn reads_in_place(shape: &ConvShape, isa: Isa) -> bool {
    is_pointwise(shape) && shape.output[0] * shape.output[1] >= isa.lanes()
}

/// Returns the maximum number of input channels of a chunk, limited by [`TILE_INPUT_BYTES`].
fn max_chunk_channels(shape: &ConvShape, register_tile: RegisterTileShape) -> usize {
    let channel_bytes = shape.kernel[0] * shape.kernel[1] * register_tile.pixels * 4;
    (TILE_INPUT_BYTES / channel_bytes).max(1)
}

/// Divides the output channels into blocks. Blocks have only a few different widths, because a loop is compiled for
/// each width.
fn output_blocks(out_channels: usize, register_tile: RegisterTileShape) -> OutputBlocks {
    let width = |channels: usize| match channels {
        0 | 1 => 1,
        2..=4 => register_tile.channels.min(4),
        _ => register_tile.channels,
    };
    OutputBlocks::new(out_channels, width(out_channels), width)
}
