//! The register-tile kernel with lanes over pixels: blocks of output channels × vectors of output pixels, from `Nchw`
//! to `Nchw`.
//!
//! The pixels for each tap are vectors at a fixed offset in the input tile, so stride, padding and dilation cost the
//! inner loop ([`micro`]) nothing. A pointwise convolution of f32 can read the input in place. Sums stay in the caches
//! until the epilogue turns them into results.

mod micro;
mod strips;
mod task;

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
use super::partition::{Lanes, Limits, Order};
use super::plan::{OutputBlocks, Plan, PlanOptions, TileShape, is_pointwise};
use super::problem::{Algorithm, ConvProblem};
use super::task_input::TaskInput;
pub(super) use micro::tile_shape;
use strips::Strip;
use task::Tasks;

/// The maximum number of bytes of a strip's input, which stays in the L1 cache.
const STRIP_BYTES: usize = 32 << 10;
/// The maximum number of floats of a task's tile, and of its sums. Both stay in the L2 cache.
const CACHE_FLOATS: usize = 48 << 10;
/// The maximum number of output channels of a task.
const SEGMENT_CHANNELS: usize = 128;

/// A plan with the strips of its patches.
struct StripPlan {
    plan: Plan,
    /// The strips of each patch.
    strips: Vec<Vec<Strip>>,
    /// The numbers of floats of the tile (including the lanes that its last strip reads beyond it), of the sums, and of
    /// the window of a converted channel.
    scratch: [usize; 3],
}

/// Convolves into `output`. `algorithm` is one of the two with lanes over pixels. Returns `false` if the tile would be
/// too large, or if [`PackedWeight::get`] returns `None`.
pub(super) fn conv2d(
    problem: &ConvProblem,
    algorithm: Algorithm,
    call: &Call<'_>,
    output: OutputPtr,
) -> bool {
    let (isa, threads) = (problem.isa, rayon::current_num_threads());
    let in_place = algorithm == Algorithm::PixelLanesInPlace;
    let key = (*problem, algorithm, threads, None);
    let strip_plan = Packing::plan(call.packing, key, || StripPlan::new(problem, in_place, threads));
    let Some(strip_plan) = &*strip_plan else { return false };
    let plan = &strip_plan.plan;
    let Some(weights) = PackedWeight::get(plan, problem, call) else { return false };
    let writer = EpilogueWriter::new(call, problem.shape.out_channels);
    let (input, weights) = (TaskInput { plan, elements: call.input }, &weights.floats[..]);
    parallel::for_each(plan.task_groups(), &|task_group| {
        let plan = strip_plan;
        if plan.plan.operand == OperandFormat::Bf16Pairs {
            let tasks = Tasks::<true> { plan, task_group, input, weights, writer, output };
            simd::dispatch_pairs(isa, tasks).unwrap_or_default();
        } else {
            simd::dispatch_to(isa, Tasks::<false> { plan, task_group, input, weights, writer, output });
        }
    });
    true
}

impl StripPlan {
    fn new(problem: &ConvProblem, in_place: bool, threads: usize) -> Option<Self> {
        let options = options(problem, in_place);
        let registers = options.registers;
        let plan = Plan::new(&problem.shape, &options, threads)?;
        let strips = plan.partition.patches.iter().map(|patch| strips::of_patch(&plan, patch, registers));
        let strips: Vec<_> = strips.collect();
        let scratch = scratch(&plan, &strips, registers);
        Some(Self { plan, strips, scratch })
    }
}

/// Returns the options of the kernel's plan. If `in_place` is set, the kernel reads the pixels of a pointwise
/// convolution from the input.
pub(super) fn options(problem: &ConvProblem, in_place: bool) -> PlanOptions {
    let registers = TileShape::of(Lanes::Pixels, problem.isa);
    let operand = problem.operand();
    let shape = operand.shape(&problem.shape);
    let out_channels = shape.group_out_channels();
    let flat = is_pointwise(&shape);
    let width = if flat { shape.output[0] * shape.output[1] } else { shape.output[1] };
    PlanOptions {
        direction: Lanes::Pixels,
        registers,
        operand,
        input_block: Layout::Nchw.block(registers.lanes),
        in_place: in_place && operand == OperandFormat::F32,
        column_planes: !width.is_multiple_of(registers.lanes),
        chunk: chunk(&shape, registers),
        blocks: output_blocks(out_channels, registers),
        limits: Limits {
            input: CACHE_FLOATS,
            sums: CACHE_FLOATS,
            segments: out_channels.div_ceil(SEGMENT_CHANNELS),
        },
        windows: None,
        order: Order::PatchSegmentImage,
    }
}

/// Returns the numbers of floats of the tile, of the sums, and of the window of a converted channel.
fn scratch(plan: &Plan, strips: &[Vec<Strip>], registers: TileShape) -> [usize; 3] {
    let TileShape { pixels, lanes, .. } = registers;
    let blocks = match plan.chunks.count() {
        1 => 1,
        _ => {
            plan.partition.segment_channels() / plan.blocks.block
                * strips.iter().map(Vec::len).max().unwrap_or(0)
        }
    };
    let sums = blocks * plan.blocks.block * pixels;
    let Some(tile) = &plan.tile else { return [0, sums, 0] };
    let end = strips.iter().flatten().map(|strip| strip.end(lanes)).max().unwrap_or(0);
    let last = plan.taps.iter().flatten().map(|tap| tap.offset as usize).max().unwrap_or(0);
    let floats = plan.tile_floats().max(end + last) + lanes;
    let windows =
        plan.partition.patches.iter().map(|patch| tile.window(&plan.shape, patch, lanes).words(lanes));
    let rows = if plan.operand == OperandFormat::F32 { 0 } else { windows.max().unwrap_or(0) };
    [floats, sums, rows]
}

impl ConvProblem {
    pub(super) fn operand(&self) -> OperandFormat {
        OperandFormat::of(self.format, &self.shape, self.isa)
    }
}

/// Returns `true` if the convolution is pointwise and each plane has at least a vector of pixels, so that the input can
/// be read in place.
pub(super) fn reads_in_place(shape: &ConvShape, isa: Isa) -> bool {
    is_pointwise(shape) && shape.output[0] * shape.output[1] >= isa.lanes()
}

/// Returns the maximum number of input channels of a chunk. The part of them that a strip reads stays in the L1 cache.
fn chunk(shape: &ConvShape, registers: TileShape) -> usize {
    let strip_bytes = shape.kernel[0] * shape.kernel[1] * registers.pixels * 4;
    (STRIP_BYTES / strip_bytes).max(1)
}

/// Divides the output channels into blocks. Blocks have only a few different widths, because a loop is compiled for
/// each width.
fn output_blocks(out_channels: usize, registers: TileShape) -> OutputBlocks {
    let width = |channels: usize| match channels {
        0 | 1 => 1,
        2..=4 => registers.channels.min(4),
        _ => registers.channels,
    };
    OutputBlocks::new(out_channels, width(out_channels), width)
}
