//! Which kernel, tile and number of slices a convolution gets: the one that an estimate says is done first.
//!
//! The estimate is in cycles of a multiprocessor. It knows of the multiply-adds that a tile makes, its padding
//! included, of the instructions that gather the input, of how little a multiprocessor with one block has to
//! hide its waiting behind, and of the whole number of blocks that the busiest multiprocessor gets.

use super::Variant;
use super::hopper::{Hopper, Planes, hoppers};
use super::launches::Cut;
use super::tiles::{Depthwise, Direct, Input, Tile, Units, depthwises, directs, tiles};
use crate::conv::ConvShape;
use crate::cuda::Target;
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

/// Bytes of shared memory that every block costs beside its own.
const RESERVED: usize = 1 << 10;

// What an H100 (driver 580, at some 1.75 GHz) took for some 1900 pairs of a layer and a kernel, fitted.

/// Multiply-adds a cycle on ordinary units, f32, and on tensor cores by `mma.sync`, TF32 and 16 bits.
const SCALAR_RATE: f64 = 110.0;
const TF32_RATE: f64 = 400.0;
const HALF_RATE: f64 = 560.0;
/// How much longer a step on tensor cores takes than what is busiest in it, TF32 and 16 bits.
const TF32_WAITING: f64 = 1.65;
const HALF_WAITING: f64 = 1.3;
/// Instructions a cycle of all 32 lanes, and bytes a cycle from or to shared memory.
const LANES: f64 = 128.0;
const SHARED: f64 = 128.0;
/// Instructions to gather one element and to finish one output.
const GATHER: f64 = 12.0;
const FINISH: f64 = 18.0;
/// What a direct kernel takes longer because nothing is loaded ahead of its products.
const WAITING: f64 = 1.3;
/// The first loads and the last stores of a block, which nothing hides.
const BLOCK: f64 = 2000.0;
/// Cycles from one submission to the next, some 6 µs: a device that is faster waits for the host.
const SUBMISSION: f64 = 10_500.0;
/// A kernel for compute capability 9.0: the cycles of a thread that lays out the input for each of its loads. (Of an
/// earlier version, which waited for one load after the other.)
const LOAD: f64 = 213.0;
/// A further launch, and the bytes a cycle that all multiprocessors together read and write.
const LAUNCH: f64 = 1500.0;
const BANDWIDTH: f64 = 600.0;

pub fn best(shape: &ConvShape, dtype: DType, target: &Target) -> Option<Variant> {
    let all = all(shape, dtype, target);
    if let Some(variant) = depthwise(&all, shape, target) {
        return Some(variant);
    }
    // Of several that are done as soon as the host can submit them, the one that leaves the device the most time.
    let cost = |variant: Variant| {
        let cycles = cycles(shape, &variant, target);
        (cycles.max(SUBMISSION * launches(shape, &variant)), cycles, variant)
    };
    let cheaper =
        |a: &(f64, f64, Variant), b: &(f64, f64, Variant)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    all.into_iter().map(cost).min_by(cheaper).map(|(.., variant)| variant)
}

/// Launches of a variant.
fn launches(shape: &ConvShape, variant: &Variant) -> f64 {
    match variant {
        Variant::Depthwise(_) | Variant::Direct(_) => 1.0,
        Variant::Hopper(_) => 2.0,
        Variant::Product { tile, slices } => {
            let before = if tile.is_packed() { 2.0 } else { f64::from(tile.pads_weight(shape)) };
            before + if *slices > 1 { 2.0 } else { 1.0 }
        }
    }
}

/// [`all`] with the cycles of each, the best first.
#[cfg(any(test, feature = "testing"))]
pub fn ranked(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<(Variant, f64)> {
    let best = best(shape, dtype, target);
    let mut ranked: Vec<_> = all(shape, dtype, target)
        .into_iter()
        .map(|variant| (variant, cycles(shape, &variant, target)))
        .collect();
    ranked.sort_by_key(|(variant, _)| Some(*variant) != best);
    ranked
}

/// Of the kernels for depthwise convolution, the one of the most rows that still keeps the device busy; where
/// none does, the one of the fewest.
fn depthwise(all: &[Variant], shape: &ConvShape, target: &Target) -> Option<Variant> {
    let mut squares = Vec::new();
    let mut any = None;
    for variant in all {
        match variant {
            Variant::Depthwise(kernel) if kernel.square.is_some() => squares.push(*kernel),
            Variant::Depthwise(kernel) => any = Some(*kernel),
            _ => {}
        }
    }
    let columns = shape.batch * shape.out_channels * shape.output[1];
    let threads = |kernel: &Depthwise| columns * shape.output[0].div_ceil(kernel.rows);
    let enough = BUSY_THREADS * target.multiprocessors as usize;
    let busy = squares.iter().find(|kernel| threads(kernel) >= enough).copied();
    busy.or(squares.last().copied()).or(any).map(Variant::Depthwise)
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
    if target.hopper && (dtype != DType::F32 || target.tf32) {
        let fits = |kernel: &Hopper| {
            Planes::of(shape, kernel).is_some_and(|planes| kernel.shared(&planes) <= target.shared as usize)
        };
        variants.extend(hoppers(dtype).filter(fits).map(Variant::Hopper));
    }
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
        // Chosen before, by its rows.
        Variant::Depthwise(_) => 0.0,
        Variant::Direct(direct) => {
            let cut = Cut::of(shape, [direct.channels, Direct::PIXELS], 1, 1);
            // Two pixels a thread: two products for each channel, a quarter of a read of shared memory.
            let one = 2.25 * direct.channels as f64 + 2.0 * GATHER;
            let product = one * shape.taps() as f64 * Direct::THREADS as f64 / LANES;
            let block = WAITING * product + finish(direct.channels * Direct::PIXELS);
            on_all(cut.blocks(shape), block, 4, target)
        }
        Variant::Hopper(kernel) => hopper(shape, &kernel, target),
        Variant::Product { tile, slices } => {
            let cut = Cut::of_tile(shape, &tile, slices);
            let block = step(&tile) * cut.slice_steps as f64 + finish(tile.channels * tile.pixels);
            let product = on_all(cut.blocks(shape), block, 512usize.div_ceil(tile.threads), target);
            let slicing = if cut.slices == 1 {
                0.0
            } else {
                LAUNCH + (cut.slices as f64 + 1.0) * outputs * 4.0 / BANDWIDTH
            };
            product + slicing + packing(shape, &tile)
        }
    }
}

/// A kernel for compute capability 9.0: the weight's packing, and the tiles. A tap of a chunk is 128 bytes deep, and
/// while the taps of one are multiplied, the next one is loaded.
fn hopper(shape: &ConvShape, kernel: &Hopper, target: &Target) -> f64 {
    let Some(planes) = Planes::of(shape, kernel) else { return f64::INFINITY };
    let weight = (kernel.packed_elements(shape, &planes) * kernel.dtype.size_in_bytes()) as f64;
    let products = (planes.taps() * kernel.places) as f64 * 4.0;
    let loads = LOAD * kernel.loads(&planes) as f64;
    let block = planes.chunks as f64 * products.max(loads) + finish(Hopper::CHANNELS * kernel.places);
    let blocks = planes.channel_tiles * planes.place_tiles * shape.geometry.groups;
    let resident =
        if 2 * (kernel.shared(&planes) + RESERVED) <= target.shared as usize + RESERVED { 2 } else { 1 };
    LAUNCH + 4.0 * weight / BANDWIDTH + on_all(blocks, block, resident, target)
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
            let (rate, waiting) =
                if tile.dtype == DType::F32 { (TF32_RATE, TF32_WAITING) } else { (HALF_RATE, HALF_WAITING) };
            let warps = (tile.threads / 32 * (tile.part[0] + tile.part[1])) as f64;
            let traffic = (warps + (tile.channels + tile.pixels) as f64) * 64.0 / SHARED;
            // Gathered, elements of 2 bytes are loaded and stored by instructions of their own.
            let single = if tile.dtype == DType::F32 { 1.0 } else { 2.0 } * elements / 32.0;
            waiting
                * match input {
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
fn on_all(blocks: usize, block: f64, resident: usize, target: &Target) -> f64 {
    let busiest = blocks.div_ceil(target.multiprocessors.max(1) as usize);
    let rounds = busiest.div_ceil(resident) as f64;
    let alone = block * (1.0 + resident as f64) / 2.0;
    (busiest as f64 * block).max(rounds * alone) + rounds * BLOCK
}
