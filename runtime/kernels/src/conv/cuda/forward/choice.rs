//! Selects the kernel, the tile and the number of slices of a convolution according to their estimated time.
//!
//! The estimate is in cycles of a multiprocessor. It accounts for the multiply-adds of a tile (including padding), the
//! instructions that gather the input, the latency that a multiprocessor with one block cannot hide, and the number of
//! blocks on the busiest multiprocessor.

use super::Variant;
use super::hopper::{Hopper, PaddedLayout, hopper_kernels};
use super::launches::GridPartition;
use super::tiles::{
    ComputeUnits, Depthwise, Direct, InputAccess, Tile, depthwise_kernels, direct_kernels, tiles,
};
use crate::conv::ConvShape;
use crate::cuda::Target;
use candle_core::DType;

/// The maximum number of output channels in a group of a depthwise convolution. The group has one input channel.
const MAX_DEPTHWISE_CHANNELS: usize = 2;
/// The number of threads per multiprocessor with which a depthwise kernel keeps the device busy.
const BUSY_THREADS: usize = 1536;
/// The number of bytes of shared memory that a block can use on every device without opting in.
const MAX_DIRECT_SHARED_BYTES: usize = 48 << 10;
/// The candidates for the number of slices.
const SLICES: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/// The minimum number of loop steps in a slice. Fewer steps hardly fill the kernel's pipeline of copies and products.
const MIN_SLICE_STEPS: usize = 4;

/// The number of bytes of shared memory that the system reserves for each block.
const RESERVED_BYTES: usize = 1 << 10;

// The constants below are fitted to the times of about 1900 pairs of a layer and a kernel on an H100 (driver 580, at
// about 1.75 GHz).

/// The f32 multiply-adds per cycle on CUDA cores.
const SCALAR_PRODUCTS_PER_CYCLE: f64 = 110.0;
/// The TF32 multiply-adds per cycle on tensor cores with `mma.sync`.
const TF32_PRODUCTS_PER_CYCLE: f64 = 400.0;
/// The multiply-adds of 16-bit types per cycle on tensor cores with `mma.sync`.
const HALF_PRODUCTS_PER_CYCLE: f64 = 560.0;
/// The ratio of a TF32 step's time on tensor cores to the time of its slowest part (products or shared memory).
const TF32_STALLS: f64 = 1.65;
/// The same ratio for 16-bit types.
const HALF_STALLS: f64 = 1.3;
/// The instructions per cycle, with one instruction of a warp counted as 32: four warps issue an instruction each.
const INSTRUCTION_LANES_PER_CYCLE: f64 = 128.0;
/// The bytes per cycle from or to shared memory.
const SHARED_BYTES_PER_CYCLE: f64 = 128.0;
/// The number of instructions that gather one element.
const GATHER_INSTRUCTIONS: f64 = 12.0;
/// The number of instructions that store one output.
const STORE_INSTRUCTIONS: f64 = 18.0;
/// The ratio of a direct kernel's time to the time of its instructions. It exceeds 1 because the kernel waits for its
/// operands, which it does not prefetch.
const DIRECT_STALLS: f64 = 1.3;
/// The cycles of the first loads and the last stores of a block, during which it multiplies nothing.
const BLOCK_CYCLES: f64 = 2000.0;
/// The cycles that the host takes to submit a launch, about 6 µs. A kernel that takes less time leaves the device idle.
const SUBMISSION_CYCLES: f64 = 10_500.0;
/// The cycles per load of a thread that only loads the input, in a kernel for compute capability 9.0. (Measured for an
/// earlier version, which waited for each load before the next.)
const LOAD_CYCLES: f64 = 213.0;
/// The cycles of an additional launch.
const LAUNCH_CYCLES: f64 = 1500.0;
/// The bytes per cycle that all multiprocessors together read from or write to global memory.
const MEMORY_BYTES_PER_CYCLE: f64 = 600.0;

/// Returns the variant with the shortest estimated time, or `None` if the dtype is not supported.
pub fn best(shape: &ConvShape, dtype: DType, target: &Target) -> Option<Variant> {
    let candidates = candidates(shape, dtype, target);
    if let Some(variant) = best_depthwise(&candidates, shape, target) {
        return Some(variant);
    }
    // A variant takes at least as long as the host takes to submit its launches. If this time decides for two variants,
    // and they have equally many launches, the one with fewer cycles is better.
    let cost = |variant: Variant| {
        let cycles = cycles(shape, &variant, target);
        (cycles.max(SUBMISSION_CYCLES * launches(shape, &variant)), cycles, variant)
    };
    let cheaper =
        |a: &(f64, f64, Variant), b: &(f64, f64, Variant)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    candidates.into_iter().map(cost).min_by(cheaper).map(|(.., variant)| variant)
}

/// Returns the number of launches of a variant.
fn launches(shape: &ConvShape, variant: &Variant) -> f64 {
    match variant {
        Variant::Depthwise(_) | Variant::Direct(_) => 1.0,
        Variant::Hopper(_) => 2.0,
        Variant::ImplicitGemm { tile, slices } => {
            let packing = if tile.is_packed() { 2.0 } else { f64::from(tile.pads_weight(shape)) };
            packing + if *slices > 1 { 2.0 } else { 1.0 }
        }
    }
}

/// Returns the variants of [`candidates`] with their estimated cycles. The best variant comes first; the others keep
/// their order.
#[cfg(any(test, feature = "testing"))]
pub fn best_first(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<(Variant, f64)> {
    let best = best(shape, dtype, target);
    let mut variants: Vec<_> = candidates(shape, dtype, target)
        .into_iter()
        .map(|variant| (variant, cycles(shape, &variant, target)))
        .collect();
    variants.sort_by_key(|(variant, _)| Some(*variant) != best);
    variants
}

/// Returns the depthwise kernel with the most rows per thread that still keeps the device busy. If no kernel does,
/// returns the kernel with the fewest rows. Returns `None` if there is no depthwise candidate.
fn best_depthwise(candidates: &[Variant], shape: &ConvShape, target: &Target) -> Option<Variant> {
    // The CUDA kernels that support one kernel size and stride, those with more rows first, and the one that supports
    // all sizes.
    let mut specialized = Vec::new();
    let mut general = None;
    for variant in candidates {
        match variant {
            Variant::Depthwise(kernel) if kernel.size_and_stride.is_some() => specialized.push(*kernel),
            Variant::Depthwise(kernel) => general = Some(*kernel),
            _ => {}
        }
    }
    let columns = shape.batch * shape.out_channels * shape.output[1];
    let threads = |kernel: &Depthwise| columns * shape.output[0].div_ceil(kernel.rows);
    let enough = BUSY_THREADS * target.multiprocessors as usize;
    let busy = specialized.iter().find(|kernel| threads(kernel) >= enough).copied();
    busy.or(specialized.last().copied()).or(general).map(Variant::Depthwise)
}

/// Returns every variant that supports the convolution.
pub fn candidates(shape: &ConvShape, dtype: DType, target: &Target) -> Vec<Variant> {
    let mut variants = Vec::new();
    if shape.group_in_channels() == 1 && shape.group_out_channels() <= MAX_DEPTHWISE_CHANNELS {
        let fits =
            |kernel: &Depthwise| kernel.size_and_stride.is_none_or(|only| has_size_and_stride(shape, only));
        variants.extend(depthwise_kernels(dtype).filter(fits).map(Variant::Depthwise));
    }
    let fits = |direct: &Direct| direct.shared(shape.depth()) <= MAX_DIRECT_SHARED_BYTES;
    variants.extend(direct_kernels(dtype).filter(fits).map(Variant::Direct));
    if target.hopper && (dtype != DType::F32 || target.tf32) {
        let fits = |kernel: &Hopper| {
            PaddedLayout::of(shape, kernel)
                .is_some_and(|layout| kernel.shared(&layout) <= target.shared as usize)
        };
        variants.extend(hopper_kernels(dtype).filter(fits).map(Variant::Hopper));
    }
    for tile in tiles(dtype).filter(|tile| supports(tile, shape, dtype, target)) {
        let steps = tile.steps(shape);
        let slices = SLICES.into_iter().filter(|slices| *slices == 1 || slices * MIN_SLICE_STEPS <= steps);
        variants.extend(slices.map(|slices| Variant::ImplicitGemm { tile, slices }));
    }
    variants
}

/// Returns `true` if the kernel size is `size` and the stride is `stride` on both axes, with dilation 1.
fn has_size_and_stride(shape: &ConvShape, [size, stride]: [usize; 2]) -> bool {
    shape.kernel == [size; 2] && shape.geometry.stride == [stride; 2] && shape.geometry.dilation == [1; 2]
}

/// Returns `true` if the tile's kernel supports the convolution on the target.
fn supports(tile: &Tile, shape: &ConvShape, dtype: DType, target: &Target) -> bool {
    let ComputeUnits::TensorCores(input) = tile.units else {
        return true;
    };
    let can_read = match input {
        InputAccess::Gathered => !is_dense(shape),
        InputAccess::Dense => is_dense(shape),
        InputAccess::Packed => shape.group_in_channels() > 0,
    };
    let allowed = target.has_tensor_cores() && (dtype != DType::F32 || target.tf32);
    can_read && allowed && tile.shared <= target.shared as usize
}

/// Returns `true` if the convolution is 1×1 with stride 1 and no padding, and its planes can be read four pixels at a
/// time.
fn is_dense(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    shape.kernel == [1; 2]
        && geometry.stride == [1; 2]
        && geometry.padding == [[0; 2]; 2]
        && (shape.output[0] * shape.output[1]).is_multiple_of(4)
}

/// Returns the estimated cycles of a variant.
fn cycles(shape: &ConvShape, variant: &Variant, target: &Target) -> f64 {
    let outputs = shape.output_elements() as f64;
    match *variant {
        // `best_depthwise` selects one of these kernels without an estimate.
        Variant::Depthwise(_) => 0.0,
        Variant::Direct(direct) => {
            let partition = GridPartition::of(shape, [direct.channels, Direct::PIXELS], 1, 1);
            // The instructions with which a thread adds one product to each of its sums. A thread computes two pixels.
            // Each channel takes two multiply-adds and a quarter of a load, because one load reads four weights. Each
            // pixel takes a gather.
            let instructions = 2.25 * direct.channels as f64 + 2.0 * GATHER_INSTRUCTIONS;
            let loop_cycles =
                instructions * shape.depth() as f64 * Direct::THREADS as f64 / INSTRUCTION_LANES_PER_CYCLE;
            let block = DIRECT_STALLS * loop_cycles + store_cycles(direct.channels * Direct::PIXELS);
            // A multiprocessor is assumed to run 512 threads, here and below.
            device_cycles(partition.blocks(shape), block, 4, target)
        }
        Variant::Hopper(kernel) => hopper_cycles(shape, &kernel, target),
        Variant::ImplicitGemm { tile, slices } => {
            let partition = GridPartition::of_tile(shape, &tile, slices);
            let block =
                step_cycles(&tile) * partition.slice_steps as f64 + store_cycles(tile.channels * tile.pixels);
            let product =
                device_cycles(partition.blocks(shape), block, 512usize.div_ceil(tile.threads), target);
            let slicing = if partition.slices == 1 {
                0.0
            } else {
                // The second launch reads the f32 sums of every slice and stores the outputs.
                LAUNCH_CYCLES + (partition.slices as f64 + 1.0) * outputs * 4.0 / MEMORY_BYTES_PER_CYCLE
            };
            product + slicing + packing_cycles(shape, &tile)
        }
    }
}

/// Returns the estimated cycles of a kernel for compute capability 9.0: the cycles of packing the weight plus the
/// cycles of the tiles. The products of one chunk (128 bytes of each pixel's channels) run at the same time as the
/// loads of the next chunk, so a chunk takes as long as the slower of the two.
fn hopper_cycles(shape: &ConvShape, kernel: &Hopper, target: &Target) -> f64 {
    let Some(layout) = PaddedLayout::of(shape, kernel) else { return f64::INFINITY };
    let weight = (kernel.packed_elements(shape, &layout) * kernel.dtype.size_in_bytes()) as f64;
    // Multiplying a chunk at one position with one tap takes four cycles.
    let products = (layout.taps() * kernel.positions) as f64 * 4.0;
    let loads = LOAD_CYCLES * kernel.loads(&layout) as f64;
    let block =
        layout.chunks as f64 * products.max(loads) + store_cycles(Hopper::CHANNELS * kernel.positions);
    let blocks = layout.channel_tiles * layout.position_tiles * shape.geometry.groups;
    // A multiprocessor has `RESERVED_BYTES` more of shared memory than one block can use.
    let resident = if 2 * (kernel.shared(&layout) + RESERVED_BYTES) <= target.shared as usize + RESERVED_BYTES
    {
        2
    } else {
        1
    };
    LAUNCH_CYCLES + 4.0 * weight / MEMORY_BYTES_PER_CYCLE + device_cycles(blocks, block, resident, target)
}

/// Returns the estimated cycles of the launches before the implicit GEMM: two launches that pack the operands (the
/// weight with slow scattered accesses), one launch that pads the rows of the weight, or none.
fn packing_cycles(shape: &ConvShape, tile: &Tile) -> f64 {
    if !tile.is_packed() {
        return if tile.pads_weight(shape) { LAUNCH_CYCLES } else { 0.0 };
    }
    let [input, weight] = tile.packed_elements(shape).map(|n| (n * tile.dtype.size_in_bytes()) as f64);
    2.0 * LAUNCH_CYCLES + (2.0 * input + 4.0 * weight) / MEMORY_BYTES_PER_CYCLE
}

/// Returns the estimated cycles of one step of a tile's loop.
fn step_cycles(tile: &Tile) -> f64 {
    let products = (tile.channels * tile.pixels * tile.step) as f64;
    let elements = (tile.step * tile.pixels) as f64;
    let gathering = elements * GATHER_INSTRUCTIONS / INSTRUCTION_LANES_PER_CYCLE;
    match tile.units {
        // At each index of the depth, a thread reads one number for each of its channels and one for each of its pixels
        // from shared memory. `reads` is the number of reads per product.
        ComputeUnits::Scalar => {
            let reads =
                (tile.subtile[0] + tile.subtile[1]) as f64 / (tile.subtile[0] * tile.subtile[1]) as f64;
            products / SCALAR_PRODUCTS_PER_CYCLE * (1.0 + reads) + gathering
        }
        // Tensor cores wait for shared memory, which has a row of 64 bytes for each channel and for each pixel. A step
        // writes each row once, and each warp reads the rows of its channels and pixels.
        ComputeUnits::TensorCores(input) => {
            let (rate, stalls) = if tile.dtype == DType::F32 {
                (TF32_PRODUCTS_PER_CYCLE, TF32_STALLS)
            } else {
                (HALF_PRODUCTS_PER_CYCLE, HALF_STALLS)
            };
            let rows_read = (tile.threads / 32 * (tile.subtile[0] + tile.subtile[1])) as f64;
            let traffic = (rows_read + (tile.channels + tile.pixels) as f64) * 64.0 / SHARED_BYTES_PER_CYCLE;
            // One instruction copies a gathered 4-byte element. A 2-byte element takes two: a load and a store.
            let element_copies = if tile.dtype == DType::F32 { 1.0 } else { 2.0 } * elements / 32.0;
            stalls
                * match input {
                    InputAccess::Gathered => {
                        (products / rate).max(traffic + element_copies) + gathering / 2.0
                    }
                    InputAccess::Dense | InputAccess::Packed => (products / rate).max(traffic),
                }
        }
    }
}

/// Returns the estimated cycles of storing outputs.
fn store_cycles(outputs: usize) -> f64 {
    outputs as f64 * STORE_INSTRUCTIONS / INSTRUCTION_LANES_PER_CYCLE
}

/// Returns the number of cycles until the busiest multiprocessor has run its blocks, `resident` of them at a time.
///
/// `block` is the time per block, in cycles, on a multiprocessor that runs `resident` blocks at once. A block that runs
/// alone cannot hide its latency and is assumed to take `(1 + resident) / 2` times as long.
fn device_cycles(blocks: usize, block: f64, resident: usize, target: &Target) -> f64 {
    let busiest = blocks.div_ceil(target.multiprocessors.max(1) as usize);
    let rounds = busiest.div_ceil(resident) as f64;
    let alone = block * (1.0 + resident as f64) / 2.0;
    (busiest as f64 * block).max(rounds * alone) + rounds * BLOCK_CYCLES
}
