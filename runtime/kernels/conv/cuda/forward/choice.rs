//! Which kernel, tile and number of slices a convolution gets: the one that an estimate says is done first.
//!
//! The estimate is in cycles of a multiprocessor. It knows of the multiply-adds that a tile makes, its padding
//! included, of the instructions that gather the input, of how little a multiprocessor with one block has to
//! hide its waiting behind, and of the whole number of blocks that the busiest multiprocessor gets.

use super::tiles::{Depthwise, Direct, Tile, Units, depthwises, directs, tiles};
use super::{Cut, Variant};
use crate::kernels::conv::ConvShape;
use crate::kernels::cuda::Target;
use candle_core::DType;

/// Output channels of a group up to which a group of one input channel counts as depthwise.
const DEPTHWISE_OUTPUTS: usize = 2;
/// Threads of a depthwise kernel that keep one multiprocessor busy.
const BUSY_THREADS: usize = 1536;
/// Shared memory that every device gives a block for the asking.
const DIRECT_SHARED: usize = 48 << 10;
/// Slices that are tried. A slice of fewer steps than `SHORTEST` would hardly fill its pipeline.
const SLICES: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
const SHORTEST: usize = 4;

/// Multiply-adds a cycle on ordinary units, f32, and on tensor cores by `mma.sync`, TF32 and 16 bits.
const SCALAR_RATE: f64 = 128.0;
const TF32_RATE: f64 = 512.0;
const HALF_RATE: f64 = 1024.0;
/// Instructions a cycle of all 32 lanes.
const LANES: f64 = 128.0;
/// Instructions to gather one element and to finish one output.
const GATHER: f64 = 7.0;
const FINISH: f64 = 10.0;
/// The first loads and the last stores of a block, which nothing hides.
const BLOCK: f64 = 1500.0;
/// A second launch, and the bytes a cycle that all multiprocessors together read and write.
const LAUNCH: f64 = 3000.0;
const BANDWIDTH: f64 = 1500.0;

pub fn best(shape: &ConvShape, dtype: DType, target: &Target) -> Option<Variant> {
    let all = all(shape, dtype, target);
    if let Some(depthwise) = depthwise(&all, shape, target) {
        return Some(depthwise);
    }
    let cycles = |variant: &Variant| cycles(shape, variant, target);
    all.into_iter().min_by(|a, b| cycles(a).total_cmp(&cycles(b)))
}

/// Of the kernels for depthwise convolution, the one of the most rows that still keeps the device busy; where
/// none does, the one of the fewest.
fn depthwise(all: &[Variant], shape: &ConvShape, target: &Target) -> Option<Variant> {
    let kernels = all.iter().filter_map(|variant| match variant {
        Variant::Depthwise(kernel) => Some(*kernel),
        _ => None,
    });
    let threads =
        |rows: usize| shape.batch * shape.out_channels * shape.output[1] * shape.output[0].div_ceil(rows);
    let enough = BUSY_THREADS * target.multiprocessors as usize;
    let squares: Vec<_> = kernels.clone().filter(|kernel| kernel.square.is_some()).collect();
    let busy = squares.iter().find(|kernel| threads(kernel.rows) >= enough).copied();
    busy.or(squares.last().copied()).or(kernels.last()).map(Variant::Depthwise)
}

/// Every kernel that takes the convolution.
pub fn all(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<Variant> {
    let mut variants = Vec::new();
    if shape.group_inputs() == 1 && shape.group_outputs() <= DEPTHWISE_OUTPUTS {
        let fits = |kernel: &Depthwise| kernel.square.is_none_or(|square| is_square(shape, square));
        variants.extend(depthwises(dtype).filter(fits).map(Variant::Depthwise));
    }
    let short = |direct: &Direct| direct.shared(shape.taps()) <= DIRECT_SHARED;
    variants.extend(directs(dtype).filter(short).map(Variant::Direct));
    for tile in tiles(dtype).filter(|tile| takes(tile, shape, dtype, target)) {
        let steps = shape.taps().div_ceil(tile.step);
        let cuts = SLICES.into_iter().filter(|slices| *slices == 1 || slices * SHORTEST <= steps);
        variants.extend(cuts.map(|slices| Variant::Product { tile, slices }));
    }
    variants
}

fn is_square(shape: &ConvShape, [size, stride]: [usize; 2]) -> bool {
    shape.kernel == [size; 2] && shape.geometry.stride == [stride; 2] && shape.geometry.dilation == [1; 2]
}

fn takes(tile: &Tile, shape: &ConvShape, dtype: DType, target: &Target) -> bool {
    match tile.units {
        Units::Scalar => true,
        Units::Matrix { dense } => {
            target.has_tensor_cores()
                && (dtype != DType::F32 || target.tf32)
                && tile.shared <= target.shared as usize
                && dense == is_dense(shape)
        }
    }
}

/// Whether every output pixel is an input pixel, and planes can be read four pixels at a time.
fn is_dense(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    shape.kernel == [1; 2]
        && geometry.stride == [1; 2]
        && geometry.padding == [[0; 2]; 2]
        && (shape.output[0] * shape.output[1]).is_multiple_of(4)
}

fn cycles(shape: &ConvShape, variant: &Variant, target: &Target) -> f64 {
    let outputs = shape.output_elements() as f64;
    match *variant {
        Variant::Depthwise(kernel) => outputs * shape.taps() as f64 / kernel.rows as f64,
        Variant::Direct(direct) => {
            let cut = Cut::of(shape, direct.channels, Direct::PIXELS, 1, 1);
            // Two pixels a thread: a multiplication for each channel, a quarter of a read of shared memory.
            let one = 2.25 * direct.channels as f64 + 2.0 * GATHER;
            let product = one * shape.taps() as f64 * Direct::THREADS as f64 / LANES;
            let block = product + finish(direct.channels * Direct::PIXELS);
            on_all(shape, &cut, block, 4, target)
        }
        Variant::Product { tile, slices } => {
            let cut = Cut::of(shape, tile.channels, tile.pixels, shape.taps().div_ceil(tile.step), slices);
            let block = step(&tile) * cut.slice_steps as f64 + finish(tile.channels * tile.pixels);
            let resident = 512usize.div_ceil(tile.threads);
            let product = on_all(shape, &cut, block, resident, target);
            if cut.slices == 1 {
                return product;
            }
            product + LAUNCH + (cut.slices as f64 + 1.0) * outputs * 4.0 / BANDWIDTH
        }
    }
}

/// One step of a tile's loop: half of the gathering is taken to be hidden behind the multiplication.
fn step(tile: &Tile) -> f64 {
    let products = (tile.channels * tile.pixels * tile.step) as f64;
    let gathered = (tile.step * tile.pixels) as f64 * GATHER / LANES;
    // Of its multiplications, a thread with few accumulators reads more from shared memory.
    let reads = if tile.channels * tile.pixels >= 128 * 128 { 1.25 } else { 1.5 };
    match tile.units {
        Units::Scalar => products / SCALAR_RATE * reads + gathered,
        Units::Matrix { dense } => {
            let rate = if tile.dtype == DType::F32 { TF32_RATE } else { HALF_RATE };
            products / rate * reads + if dense { gathered / 8.0 } else { gathered / 2.0 }
        }
    }
}

fn finish(outputs: usize) -> f64 {
    outputs as f64 * FINISH / LANES
}

/// The time until the busiest multiprocessor is done: it gets blocks one by one, `resident` at a time. A block
/// alone, with nothing to hide its waiting behind, takes as long as if it shared with half of the others.
fn on_all(shape: &ConvShape, cut: &Cut, block: f64, resident: usize, target: &Target) -> f64 {
    let blocks = cut.channel_tiles * cut.pixel_tiles * cut.slices * shape.geometry.groups;
    let busiest = blocks.div_ceil(target.multiprocessors.max(1) as usize);
    let rounds = busiest.div_ceil(resident) as f64;
    let alone = block * (1.0 + resident as f64) / 2.0;
    (busiest as f64 * block).max(rounds * alone) + rounds * BLOCK
}
