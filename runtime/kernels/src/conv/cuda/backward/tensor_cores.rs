//! The gradients of input and weight on tensor cores.
//!
//! Their kernels copy chunks of 16 bytes, so their operands are packed first: the channels of a group side by
//! side, padded by zeros to whole chunks, the gradient masked on the way. A gradient that both need is packed
//! once.

use super::choice::Tile;
use super::input::Grid;
use super::launches::{Gradient, Launches, THREADS};
use super::sizes::int;
use super::sums::{Parts, WIDTH};
use super::weight::{pixels, weights};
use crate::activation::Activation;
use crate::cuda::{Arg, named};
use candle_core::{DType, Result, bail};

/// Rows and columns that one block packs.
const PACKED: [usize; 2] = [32, 64];
/// Stages of a pipeline, and the chunks of one row or column in each.
const STAGES: usize = 3;
const CHUNKS: usize = 4;
/// Bytes of a chunk.
const CHUNK: usize = 16;
/// Pixels that a step takes (or half of them), and that a part has at least.
const STEP: usize = 32;
const LEAST: usize = 512;

/// Matrices `[rows, taps of columns]`, `count` of them in each of the groups.
struct Matrices {
    count: usize,
    rows: usize,
    columns: usize,
    taps: usize,
}

pub(super) fn input(plan: &mut Launches, tile: Tile, weight: Arg, bias: Arg, result: Arg) -> Result<()> {
    let kernel = match tile {
        Tile::Narrow => named!(plan.dtype, "conv_backward_input_tensor_narrow"),
        Tile::Medium => named!(plan.dtype, "conv_backward_input_tensor_medium"),
        Tile::Wide => named!(plan.dtype, "conv_backward_input_tensor_wide"),
        Tile::Large => named!(plan.dtype, "conv_backward_input_tensor_large"),
    };
    let shape = plan.shape;
    let taps = shape.kernel[0] * shape.kernel[1];
    let filters = Matrices { count: 1, rows: shape.group_outputs(), columns: shape.taps(), taps };
    let weight = pack(plan, filters, plain(weight))?;
    let gradient = gradient(plan)?;
    let grid = Grid::new(shape, tile.on_tensor_cores());
    let chunks = padded(plan.dtype, shape.group_outputs()) * plan.dtype.size_in_bytes() / CHUNK;
    let mut args = vec![gradient, weight, bias, result, plan.conv.clone()];
    for size in [chunks, grid.channel_tiles, grid.pixel_tiles] {
        args.push(Arg::Int(int(size)?));
    }
    plan.launch(["conv_backward_input_tensor", kernel], grid.blocks, threads(tile), shared(tile), args)
}

pub(super) fn weight(plan: &mut Launches, tile: Tile, input: Arg, result: Arg) -> Result<()> {
    let kernel = match tile {
        Tile::Narrow => named!(plan.dtype, "conv_backward_weight_tensor_narrow"),
        Tile::Medium => named!(plan.dtype, "conv_backward_weight_tensor_medium"),
        Tile::Wide => named!(plan.dtype, "conv_backward_weight_tensor_wide"),
        Tile::Large => named!(plan.dtype, "conv_backward_weight_tensor_large"),
    };
    let shape = plan.shape;
    let (inputs, outputs, groups) = (shape.group_inputs(), shape.group_outputs(), shape.geometry.groups);
    let images =
        Matrices { count: shape.batch, rows: inputs, columns: shape.input[0] * shape.input[1], taps: 1 };
    let images = pack(plan, images, plain(input))?;
    let gradient = gradient(plan)?;

    let taps = shape.kernel[0] * shape.kernel[1];
    let channels = [outputs, inputs].map(|channels| padded(plan.dtype, channels));
    let [rows, columns] = tile.on_tensor_cores();
    let tiles = [outputs.div_ceil(rows), (taps * channels[1]).div_ceil(columns)];
    let blocks = tiles[0] * tiles[1] * groups;
    let parts = Parts::new(pixels(plan), blocks, STEP, LEAST);
    let sums = plan.scratch(parts.count * shape.out_channels * taps * channels[1], DType::F32);

    let mut args = vec![gradient, images, sums.clone(), plan.conv.clone()];
    for size in [channels[0], channels[1], parts.pixels, tiles[0], tiles[1]] {
        args.push(Arg::Int(int(size)?));
    }
    const MODULE: &str = "conv_backward_weight_tensor";
    plan.launch([MODULE, kernel], blocks * parts.count, threads(tile), shared(tile), args)?;

    let mut args = vec![sums, result];
    for size in [shape.out_channels, taps, inputs, channels[1], parts.count] {
        args.push(Arg::Int(int(size)?));
    }
    let kernel = named!(plan.dtype, "conv_backward_weight_tensor_sum");
    plan.launch([MODULE, kernel], weights(plan).div_ceil(WIDTH), THREADS, 0, args)
}

/// The masked gradient, packed.
fn gradient(plan: &mut Launches) -> Result<Arg> {
    if let Some(packed) = &plan.packed_gradient {
        return Ok(packed.clone());
    }
    let shape = plan.shape;
    let columns = shape.output[0] * shape.output[1];
    let matrices = Matrices { count: shape.batch, rows: shape.group_outputs(), columns, taps: 1 };
    let packed = pack(plan, matrices, plan.gradient.clone())?;
    plan.packed_gradient = Some(packed.clone());
    Ok(packed)
}

/// An operand that has no activation behind it.
fn plain(operand: Arg) -> Gradient {
    Gradient { gradient: operand, output: Arg::Absent, activation: Activation::Identity.arguments() }
}

fn pack(plan: &mut Launches, matrices: Matrices, from: Gradient) -> Result<Arg> {
    let kernel = match plan.dtype {
        DType::F32 => "conv_backward_pack_f32",
        DType::F16 => "conv_backward_pack_f16",
        DType::BF16 => "conv_backward_pack_bf16",
        other => bail!("conv2d backward: expected f32, f16 or bf16 for tensor cores, got {other:?}"),
    };
    let Matrices { count, rows, columns, taps } = matrices;
    let groups = plan.shape.geometry.groups;
    let padded = padded(plan.dtype, rows);
    let elements = count * groups * columns * padded;
    if elements.saturating_mul(plan.dtype.size_in_bytes()) / CHUNK > u32::MAX as usize {
        bail!("conv2d backward: expected at most 64 GiB for tensor cores, got {elements} elements")
    }
    let packed = plan.scratch(elements, plan.dtype);
    let [kind, parameter] = from.activation;
    let mut args = vec![from.gradient, from.output, packed.clone(), kind, parameter];
    for size in [rows, columns, padded, count, groups, taps] {
        args.push(Arg::Int(int(size)?));
    }
    let blocks = count * groups * padded.div_ceil(PACKED[0]) * columns.div_ceil(PACKED[1]);
    plan.launch(["conv_backward_pack", kernel], blocks, THREADS, 0, args)?;
    Ok(packed)
}

/// So many channels in whole chunks.
fn padded(dtype: DType, channels: usize) -> usize {
    channels.next_multiple_of(CHUNK / dtype.size_in_bytes())
}

fn threads(tile: Tile) -> u32 {
    if tile == Tile::Large { 256 } else { 128 }
}

/// Bytes of shared memory.
fn shared(tile: Tile) -> u32 {
    let [rows, columns] = tile.on_tensor_cores();
    ((rows + columns) * STAGES * CHUNKS * CHUNK) as u32
}
