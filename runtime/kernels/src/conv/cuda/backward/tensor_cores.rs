//! The gradients of input and weight on tensor cores.
//!
//! The kernels copy chunks of 16 bytes, so their operands are packed first. In a packed image, the channels of a group
//! are contiguous for each pixel. In the packed weight, the output channels of a group are contiguous for each tap and
//! input channel. These channels are padded with zeros to whole chunks. Packing also masks the gradient. If the
//! gradients of the input and of the weight are both needed, the masked gradient is packed only once.

use super::choice::Tile;
use super::input::Grid;
use super::program_builder::{MaskedGrad, ProgramBuilder, THREADS};
use super::sizes::int;
use super::sums::{Parts, SUM_WIDTH};
use super::weight::{pixels, weights};
use crate::activation::Activation;
use crate::cuda::{Arg, named};
use candle_core::{DType, Result, bail};

/// The numbers of rows and columns that one block packs.
const PACK_TILE: [usize; 2] = [32, 64];
/// The number of stages in the pipeline: `STAGES` in `tensor_tile.cuh`.
const STAGES: usize = 3;
/// The number of chunks along the depth in a stage: `DEPTH_CHUNKS` in `tensor_tile.cuh`.
const STAGE_CHUNKS: usize = 4;
/// The number of bytes in a chunk.
const CHUNK_BYTES: usize = 16;
/// The number of pixels that one step of the loop adds to the weight's gradient: this number for 2-byte types, and half
/// of it for f32.
const STEP_PIXELS: usize = 32;
/// The minimum number of pixels in a part of the weight's gradient.
const MIN_PIXELS: usize = 512;

/// The shape of an operand to pack, `[count, groups, rows, columns / taps, taps]`. The packed operand is
/// `[count, groups, taps, columns / taps, rows]`, with the rows padded to whole chunks.
struct OperandShape {
    /// The number of images, or 1 for the weight.
    count: usize,
    /// The number of channels in a group. For the weight, these are the output channels.
    rows: usize,
    /// The number of pixels of an image. For the weight, the number of input channels times `taps`.
    columns: usize,
    /// The number of taps of the weight, or 1 for images.
    taps: usize,
}

/// Adds the launches of the input's gradient.
pub(super) fn input(
    builder: &mut ProgramBuilder,
    tile: Tile,
    weight: Arg,
    bias: Arg,
    result: Arg,
) -> Result<()> {
    let kernel = match tile {
        Tile::Narrow => named!(builder.dtype, "conv_backward_input_tensor_narrow"),
        Tile::Medium => named!(builder.dtype, "conv_backward_input_tensor_medium"),
        Tile::Wide => named!(builder.dtype, "conv_backward_input_tensor_wide"),
        Tile::Large => named!(builder.dtype, "conv_backward_input_tensor_large"),
    };
    let shape = builder.shape;
    let taps = shape.kernel[0] * shape.kernel[1];
    let filters = OperandShape { count: 1, rows: shape.group_out_channels(), columns: shape.depth(), taps };
    let weight = pack(builder, filters, unmasked(weight))?;
    let gradient = gradient(builder)?;
    let grid = Grid::new(shape, tile.tensor_core_size());
    let chunks =
        padded(builder.dtype, shape.group_out_channels()) * builder.dtype.size_in_bytes() / CHUNK_BYTES;
    let mut args = vec![gradient, weight, bias, result, builder.conv.clone()];
    for size in [chunks, grid.channel_tiles, grid.pixel_tiles] {
        args.push(Arg::Int(int(size)?));
    }
    builder.launch(["conv_backward_input_tensor", kernel], grid.blocks, threads(tile), shared(tile), args)
}

/// Adds the launches of the weight's gradient.
pub(super) fn weight(builder: &mut ProgramBuilder, tile: Tile, input: Arg, result: Arg) -> Result<()> {
    let kernel = match tile {
        Tile::Narrow => named!(builder.dtype, "conv_backward_weight_tensor_narrow"),
        Tile::Medium => named!(builder.dtype, "conv_backward_weight_tensor_medium"),
        Tile::Wide => named!(builder.dtype, "conv_backward_weight_tensor_wide"),
        Tile::Large => named!(builder.dtype, "conv_backward_weight_tensor_large"),
    };
    let shape = builder.shape;
    let in_channels = shape.group_in_channels();
    let out_channels = shape.group_out_channels();
    let groups = shape.geometry.groups;
    let images = OperandShape {
        count: shape.batch,
        rows: in_channels,
        columns: shape.input[0] * shape.input[1],
        taps: 1,
    };
    let images = pack(builder, images, unmasked(input))?;
    let gradient = gradient(builder)?;

    let taps = shape.kernel[0] * shape.kernel[1];
    let [padded_out, padded_in] = [out_channels, in_channels].map(|channels| padded(builder.dtype, channels));
    let [rows, columns] = tile.tensor_core_size();
    let tiles = [out_channels.div_ceil(rows), (taps * padded_in).div_ceil(columns)];
    let blocks = tiles[0] * tiles[1] * groups;
    let parts = Parts::new(pixels(builder), blocks, STEP_PIXELS, MIN_PIXELS);
    let sums = builder.scratch(parts.count * shape.out_channels * taps * padded_in, DType::F32);

    let mut args = vec![gradient, images, sums.clone(), builder.conv.clone()];
    for size in [padded_out, padded_in, parts.pixels, tiles[0], tiles[1]] {
        args.push(Arg::Int(int(size)?));
    }
    const MODULE: &str = "conv_backward_weight_tensor";
    builder.launch([MODULE, kernel], blocks * parts.count, threads(tile), shared(tile), args)?;

    let mut args = vec![sums, result];
    for size in [shape.out_channels, taps, in_channels, padded_in, parts.count] {
        args.push(Arg::Int(int(size)?));
    }
    let kernel = named!(builder.dtype, "conv_backward_weight_tensor_sum");
    builder.launch([MODULE, kernel], weights(builder).div_ceil(SUM_WIDTH), THREADS, 0, args)
}

/// Returns the packed masked gradient. The first call adds the launch that packs it.
fn gradient(builder: &mut ProgramBuilder) -> Result<Arg> {
    if let Some(packed) = &builder.packed_gradient {
        return Ok(packed.clone());
    }
    let shape = builder.shape;
    let columns = shape.output[0] * shape.output[1];
    let images = OperandShape { count: shape.batch, rows: shape.group_out_channels(), columns, taps: 1 };
    let packed = pack(builder, images, builder.gradient.clone())?;
    builder.packed_gradient = Some(packed.clone());
    Ok(packed)
}

/// Returns `operand` as an argument of [`pack`], which then packs it without a mask.
fn unmasked(operand: Arg) -> MaskedGrad {
    MaskedGrad { gradient: operand, output: Arg::Absent, activation: Activation::Identity.arguments() }
}

/// Adds the launch that packs an operand of shape `shape`, and returns the packed operand.
fn pack(builder: &mut ProgramBuilder, shape: OperandShape, from: MaskedGrad) -> Result<Arg> {
    let kernel = match builder.dtype {
        DType::F32 => "conv_backward_pack_f32",
        DType::F16 => "conv_backward_pack_f16",
        DType::BF16 => "conv_backward_pack_bf16",
        other => bail!("conv2d backward: expected f32, f16 or bf16 for tensor cores, found {other:?}"),
    };
    let OperandShape { count, rows, columns, taps } = shape;
    let groups = builder.shape.geometry.groups;
    let padded = padded(builder.dtype, rows);
    let elements = count * groups * columns * padded;
    if elements.saturating_mul(builder.dtype.size_in_bytes()) / CHUNK_BYTES > u32::MAX as usize {
        let dtype = builder.dtype;
        bail!(
            "conv2d backward: expected a packed operand of at most 64 GiB for tensor cores, found {elements} elements \
             of {dtype:?}"
        )
    }
    let packed = builder.scratch(elements, builder.dtype);
    let [kind, parameter] = from.activation;
    let mut args = vec![from.gradient, from.output, packed.clone(), kind, parameter];
    for size in [rows, columns, padded, count, groups, taps] {
        args.push(Arg::Int(int(size)?));
    }
    let blocks = count * groups * padded.div_ceil(PACK_TILE[0]) * columns.div_ceil(PACK_TILE[1]);
    builder.launch(["conv_backward_pack", kernel], blocks, THREADS, 0, args)?;
    Ok(packed)
}

/// Rounds up a number of channels to whole chunks.
fn padded(dtype: DType, channels: usize) -> usize {
    channels.next_multiple_of(CHUNK_BYTES / dtype.size_in_bytes())
}

/// Returns the number of threads in a block.
fn threads(tile: Tile) -> u32 {
    if tile == Tile::Large { 256 } else { 128 }
}

/// Returns the number of bytes of shared memory that a block uses.
fn shared(tile: Tile) -> u32 {
    let [rows, columns] = tile.tensor_core_size();
    ((rows + columns) * STAGES * STAGE_CHUNKS * CHUNK_BYTES) as u32
}
