//! Winograd's convolution (Lavin & Gray, 2016) for 3×3 kernels with stride 1 or 2, in f32: fewer multiplications than
//! the definition, for a few more additions.
//!
//! The output is divided into tiles of `OUT × OUT` pixels. For each pair of an input and an output channel, a tile
//! needs `IN²` products instead of `9 · OUT²`. `IN` is `OUT + 2`, or `2 · OUT + 1` with stride 2. Blocks of tiles, each
//! small enough for a core's caches, go through three steps:
//!
//! 1. `transform`: `v = Bᵀ d B` for each input tile `d` of `IN × IN` pixels. A *position* is one of the `IN²` elements
//!    of a transformed tile;
//! 2. [`gemm`](crate::gemm): at each position, the matrix product `m = v u` of the transformed tiles
//!    `[tile][input channel]` and the transformed weight `u`, `[input channel][output channel]` (`pack`);
//! 3. `transform` again: `y = Aᵀ m A` for each tile, followed by the epilogue.
//!
//! The order of the additions in a sum depends neither on the number of threads nor on the division into blocks.
//! Results are therefore bit-identical for any number of threads and any size of the blocks. The sum for an output can
//! contain inputs of the tile that are outside of the output's window, because their contributions cancel. An infinity
//! or NaN does not cancel and would spread over the tile, so problems with operands that are not finite run other
//! algorithms.

mod dilated;
mod grid;
mod nchwc;
mod pack;
mod schedule;
mod scheme;
mod strip;
mod transform;

pub use pack::WinogradTile;
pub(super) use schedule::{BLOCK_TILES, GROUP_CHANNELS};
pub(super) use transform::strip_tiles;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Result;

use crate::conv::ConvShape;
use crate::layout::Layout;

use super::elements::{ElementPtr, OutputPtr};
use super::epilogue::EpilogueWriter;
use super::operand::Call;
use super::packed::{PackedOrder, Packing};
use super::problem::ConvProblem;
use dilated::Phases;
use grid::Grid;
use pack::PackedWinograd;
use schedule::Schedule;
use scheme::{F2, F4, F6, Strided2, Strided4};

/// The operands of one convolution, shared by all threads.
struct Operands<'a> {
    shape: &'a ConvShape,
    grid: Grid,
    input: ElementPtr,
    packed: &'a PackedWinograd,
    writer: EpilogueWriter<'a>,
    output: OutputPtr,
    /// The layout of input, residual and output.
    layout: Layout,
    /// Set if a sum of an `Nchwc` output is not finite.
    has_non_finite_sum: AtomicBool,
}

/// Convolves into `output`. Returns `false`, with the output unspecified, if an element of the input or the weight or,
/// in the `Nchwc` layout, a sum is not finite.
pub(super) fn conv2d(
    problem: &ConvProblem,
    tile: WinogradTile,
    call: &Call<'_>,
    output: OutputPtr,
) -> Result<bool> {
    // With `Nchwc`, the output transform checks the sums instead.
    if problem.output == Layout::Nchw && !call.input.is_finite(problem.isa) {
        return Ok(false);
    }
    let packed = packed(problem, tile, call);
    let Some(packed) = &*packed else { return Ok(false) };
    match &Phases::of(&problem.shape) {
        None => Ok(run(problem, &problem.shape, call, packed, output)),
        // SAFETY: the output has the elements of the shape's output.
        Some(phases) => unsafe {
            phases.run(call, output, |call, output| {
                run(problem, &phases.undilated, call, packed, output);
            })?;
            Ok(true)
        },
    }
}

/// Returns the packed weight, or `None` if the weight is not finite.
fn packed(problem: &ConvProblem, tile: WinogradTile, call: &Call<'_>) -> Arc<Option<PackedWinograd>> {
    Packing::get(call.packing, PackedOrder::Winograd { tile }, || {
        let ConvShape { in_channels, out_channels, .. } = problem.shape;
        let finite = call.weight.is_finite(problem.isa);
        finite.then(|| PackedWinograd::new(&call.weight.widened(), out_channels, in_channels, tile))
    })
}

/// Convolves images of `shape`, which is not dilated. Returns `false` if a sum of an `Nchwc` output is not finite.
///
/// An input element that is not finite makes every sum whose window contains it infinite or NaN, because no product and
/// no addition turns such a number into a finite one.
fn run(
    problem: &ConvProblem,
    shape: &ConvShape,
    call: &Call<'_>,
    packed: &PackedWinograd,
    output: OutputPtr,
) -> bool {
    let (layout, lanes) = (problem.output, problem.output.block(problem.isa.lanes()));
    let elements = |channels: usize, [height, width]: [usize; 2]| {
        shape.batch * channels.next_multiple_of(lanes) * height * width
    };
    // The bounds of all memory accesses follow from these assertions.
    assert_eq!([packed.out_channels, packed.in_channels], [shape.out_channels, shape.in_channels]);
    assert_eq!(call.input.len(), elements(shape.in_channels, shape.input));
    let outputs = elements(shape.out_channels, shape.output);
    assert!(outputs > 0, "expected an output that is not empty");
    assert!(call.residual.is_none_or(|residual| residual.len() == outputs));
    assert!([call.scale, call.shift].into_iter().flatten().all(|vector| vector.len() == shape.out_channels));

    let (isa, tile) = (problem.isa, packed.tile);
    let operands = Operands {
        shape,
        grid: Grid::new(shape.batch, shape.output, tile.outputs()),
        input: call.input.as_ptr(),
        packed,
        writer: EpilogueWriter::new(call, shape.out_channels),
        output,
        layout,
        has_non_finite_sum: AtomicBool::new(false),
    };
    match tile {
        WinogradTile::Two => Schedule::new(isa, F2, &operands).run(),
        WinogradTile::Four => Schedule::new(isa, F4, &operands).run(),
        WinogradTile::Six => Schedule::new(isa, F6, &operands).run(),
        WinogradTile::StridedTwo => Schedule::new(isa, Strided2, &operands).run(),
        WinogradTile::StridedFour => Schedule::new(isa, Strided4, &operands).run(),
    }
    !operands.has_non_finite_sum.load(Ordering::Relaxed)
}
