//! Which kernel, tile and number of slices a convolution gets: the one that an estimate says is done first.
//!
//! The estimate is in cycles of a multiprocessor. It knows of the multiply-adds that a tile makes, its padding
//! included, of the instructions that gather the input, of how little a multiprocessor with one block has to
//! hide its waiting behind, and of the whole number of blocks that the busiest multiprocessor gets.

use super::Variant;
use super::launches::Cut;
use super::tiles::{Depthwise, Direct, Input, Tile, Units, depthwises, directs, tiles};
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
/// Instructions a cycle of all 32 lanes, and bytes a cycle from or to shared memory.
const LANES: f64 = 128.0;
const SHARED: f64 = 128.0;
/// Instructions to gather one element and to finish one output.
const GATHER: f64 = 7.0;
const FINISH: f64 = 10.0;
/// What a direct kernel takes longer because nothing is loaded ahead of its products.
const WAITING: f64 = 1.15;
/// The first loads and the last stores of a block, which nothing hides.
const BLOCK: f64 = 1500.0;
/// A further launch, and the bytes a cycle that all multiprocessors together read and write.
const LAUNCH: f64 = 2500.0;
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
        let steps = tile.steps(shape);
        let cuts = SLICES.into_iter().filter(|slices| *slices == 1 || slices * SHORTEST <= steps);
        variants.extend(cuts.map(|slices| Variant::Product { tile, slices }));
    }
    variants
}

fn is_square(shape: &ConvShape, [size, stride]: [usize; 2]) -> bool {
    shape.kernel == [size; 2] && shape.geometry.stride == [stride; 2] && shape.geometry.dilation == [1; 2]
}

fn takes(tile: &Tile, shape: &ConvShape, dtype: DType, target: &Target) -> bool {
    let Units::TensorCores(input) = tile.units else {
        return true;
    };
    let reads = match input {
        Input::Gathered => !is_dense(shape),
        Input::Dense => is_dense(shape),
        Input::Packed => shape.group_inputs() > 0,
    };
    let allowed = target.has_tensor_cores() && (dtype != DType::F32 || target.tf32);
    reads && allowed && tile.shared <= target.shared as usize
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
            let cut = Cut::of(shape, [direct.channels, Direct::PIXELS], 1, 1);
            // Two pixels a thread: two products for each channel, a quarter of a read of shared memory.
            let one = 2.25 * direct.channels as f64 + 2.0 * GATHER;
            let product = one * shape.taps() as f64 * Direct::THREADS as f64 / LANES;
            let block = WAITING * product + finish(direct.channels * Direct::PIXELS);
            on_all(shape, &cut, block, 4, target)
        }
        Variant::Product { tile, slices } => {
            let cut = Cut::of_tile(shape, &tile, slices);
            let block = step(&tile) * cut.slice_steps as f64 + finish(tile.channels * tile.pixels);
            let product = on_all(shape, &cut, block, 512usize.div_ceil(tile.threads), target);
            let slicing = if cut.slices == 1 {
                0.0
            } else {
                LAUNCH + (cut.slices as f64 + 1.0) * outputs * 4.0 / BANDWIDTH
            };
            product + slicing + packing(shape, &tile)
        }
    }
}

/// The launches before: two that make the packed layout, which read and write, the weight in small pieces; or a
/// short one that fills up the weight's rows.
fn packing(shape: &ConvShape, tile: &Tile) -> f64 {
    if !tile.is_packed() {
        return if tile.pads_weight(shape) { LAUNCH } else { 0.0 };
    }
    let [input, weight] = tile.packed_elements(shape).map(|n| (n * tile.dtype.size_in_bytes()) as f64);
    2.0 * LAUNCH + (2.0 * input + 4.0 * weight) / BANDWIDTH
}

/// One step of a tile's loop.
fn step(tile: &Tile) -> f64 {
    let products = (tile.channels * tile.pixels * tile.step) as f64;
    let elements = (tile.step * tile.pixels) as f64;
    let gathering = elements * GATHER / LANES;
    match tile.units {
        // A thread with few sums reads more from shared memory for each.
        Units::Scalar => {
            let reads = (tile.part[0] + tile.part[1]) as f64 / (tile.part[0] * tile.part[1]) as f64;
            products / SCALAR_RATE * (1.0 + reads) + gathering
        }
        // Tensor cores wait for shared memory: for what is written to it, 64 bytes of each channel and pixel, and
        // for what each warp reads of it.
        Units::TensorCores(input) => {
            let rate = if tile.dtype == DType::F32 { TF32_RATE } else { HALF_RATE };
            let warps = (tile.threads / 32 * (tile.part[0] + tile.part[1])) as f64;
            let traffic = (warps + (tile.channels + tile.pixels) as f64) * 64.0 / SHARED;
            // Gathered, elements of 2 bytes are loaded and stored by instructions of their own.
            let single = if tile.dtype == DType::F32 { 1.0 } else { 2.0 } * elements / 32.0;
            match input {
                Input::Gathered => (products / rate).max(traffic + single) + gathering / 2.0,
                Input::Dense | Input::Packed => (products / rate).max(traffic),
            }
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
