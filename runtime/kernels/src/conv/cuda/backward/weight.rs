//! The gradient of the weight.

use super::choice::{Method, Tile};
use super::program_builder::{ProgramBuilder, THREADS};
use super::sizes::int;
use super::sums::{self, Parts};
use super::tensor_cores;
use crate::cuda::{Arg, named};
use candle_core::Result;

/// The number of pixels that one step of the loop adds on CUDA cores.
const STEP_PIXELS: usize = 16;
/// The minimum number of pixels in a part (see [`Parts`]) on CUDA cores.
const MIN_PIXELS: usize = 256;

/// Adds the launches of the weight's gradient.
pub(super) fn gradient(builder: &mut ProgramBuilder, method: Method, input: Arg, result: Arg) -> Result<()> {
    match method {
        Method::Depthwise => depthwise(builder, input, result),
        Method::CudaCores(tile) => cuda_cores(builder, tile, input, result),
        Method::TensorCores(tile) => tensor_cores::weight(builder, tile, input, result),
    }
}

fn cuda_cores(builder: &mut ProgramBuilder, tile: Tile, input: Arg, result: Arg) -> Result<()> {
    builder.check_tile(tile)?;
    let kernel = match tile {
        Tile::Narrow => named!(builder.dtype, "conv_backward_weight_narrow"),
        Tile::Medium => named!(builder.dtype, "conv_backward_weight_medium"),
        Tile::Wide => named!(builder.dtype, "conv_backward_weight_wide"),
        Tile::Large => named!(builder.dtype, "conv_backward_weight_large"),
    };
    let [rows, columns] = tile.cuda_core_size();
    let row_tiles = builder.shape.group_out_channels().div_ceil(rows);
    let column_tiles = builder.shape.depth().div_ceil(columns);
    let blocks = row_tiles * column_tiles * builder.shape.geometry.groups;
    let parts = Parts::new(pixels(builder), blocks, STEP_PIXELS, MIN_PIXELS);

    let count = weights(builder);
    let sums = match parts.count {
        1 => Arg::Absent,
        parts => builder.scratch(parts * count, builder.accumulator()),
    };
    let mut args = arguments(builder, input);
    args.splice(3..3, [sums.clone(), result.clone()]);
    for size in [parts.pixels, row_tiles, column_tiles] {
        args.push(Arg::Int(int(size)?));
    }
    builder.launch(["conv_backward_weight", kernel], blocks * parts.count, THREADS, 0, args)?;
    if parts.count > 1 { sums::sum(builder, sums, result, count, parts.count) } else { Ok(()) }
}

fn depthwise(builder: &mut ProgramBuilder, input: Arg, result: Arg) -> Result<()> {
    let channels = builder.shape.out_channels;
    let parts = Parts::new(pixels(builder), channels, THREADS as usize, 4 * THREADS as usize);
    let count = weights(builder);
    let sums = builder.scratch(parts.count * count, builder.accumulator());
    let mut args = arguments(builder, input);
    args.insert(3, sums.clone());
    args.push(Arg::Int(int(parts.pixels)?));
    let kernel = named!(builder.dtype, "conv_backward_depthwise_weight");
    builder.launch(["conv_backward_depthwise", kernel], parts.count * channels, THREADS, 0, args)?;
    sums::sum(builder, sums, result, count, parts.count)
}

/// Returns the arguments `[gradient, output, input, sizes, activation, parameter]`. The caller inserts the results
/// before the sizes.
fn arguments(builder: &ProgramBuilder, input: Arg) -> Vec<Arg> {
    let gradient = builder.gradient.clone();
    let [kind, parameter] = gradient.activation;
    vec![gradient.gradient, gradient.output, input, builder.conv.clone(), kind, parameter]
}

/// Returns the number of output pixels in the batch.
pub(super) fn pixels(builder: &ProgramBuilder) -> usize {
    builder.shape.batch * builder.shape.output[0] * builder.shape.output[1]
}

/// Returns the number of weights.
pub(super) fn weights(builder: &ProgramBuilder) -> usize {
    builder.shape.weight_dims().iter().product()
}
