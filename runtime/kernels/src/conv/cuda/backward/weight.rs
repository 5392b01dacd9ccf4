//! The gradient of the weight.

use super::choice::{Method, Tile};
use super::launches::{Launches, THREADS};
use super::sizes::int;
use super::sums::{self, Parts};
use super::tensor_cores;
use crate::cuda::{Arg, named};
use candle_core::Result;

/// Pixels that a step takes, and that a part has at least.
const STEP: usize = 16;
const LEAST: usize = 256;

/// Adds the gradient of the weight.
pub(super) fn gradient(plan: &mut Launches, method: Method, input: Arg, result: Arg) -> Result<()> {
    match method {
        Method::Depthwise => depthwise(plan, input, result),
        Method::Cores(tile) => cores(plan, tile, input, result),
        Method::TensorCores(tile) => tensor_cores::weight(plan, tile, input, result),
    }
}

fn cores(plan: &mut Launches, tile: Tile, input: Arg, result: Arg) -> Result<()> {
    plan.check_tile(tile)?;
    let kernel = match tile {
        Tile::Narrow => named!(plan.dtype, "conv_backward_weight_narrow"),
        Tile::Medium => named!(plan.dtype, "conv_backward_weight_medium"),
        Tile::Wide => named!(plan.dtype, "conv_backward_weight_wide"),
        Tile::Large => named!(plan.dtype, "conv_backward_weight_large"),
    };
    let [rows, columns] = tile.on_cores();
    let row_tiles = plan.shape.group_outputs().div_ceil(rows);
    let column_tiles = plan.shape.taps().div_ceil(columns);
    let blocks = row_tiles * column_tiles * plan.shape.geometry.groups;
    let parts = Parts::new(pixels(plan), blocks, STEP, LEAST);

    let count = weights(plan);
    let sums = match parts.count {
        1 => Arg::Absent,
        parts => plan.scratch(parts * count, plan.accumulator()),
    };
    let mut args = arguments(plan, input);
    args.splice(3..3, [sums.clone(), result.clone()]);
    for size in [parts.pixels, row_tiles, column_tiles] {
        args.push(Arg::Int(int(size)?));
    }
    plan.launch(["conv_backward_weight", kernel], blocks * parts.count, THREADS, 0, args)?;
    if parts.count > 1 { sums::sum(plan, sums, result, count, parts.count) } else { Ok(()) }
}

fn depthwise(plan: &mut Launches, input: Arg, result: Arg) -> Result<()> {
    let channels = plan.shape.out_channels;
    let parts = Parts::new(pixels(plan), channels, THREADS as usize, 4 * THREADS as usize);
    let count = weights(plan);
    let sums = plan.scratch(parts.count * count, plan.accumulator());
    let mut args = arguments(plan, input);
    args.insert(3, sums.clone());
    args.push(Arg::Int(int(parts.pixels)?));
    let kernel = named!(plan.dtype, "conv_backward_depthwise_weight");
    plan.launch(["conv_backward_depthwise", kernel], parts.count * channels, THREADS, 0, args)?;
    sums::sum(plan, sums, result, count, parts.count)
}

/// `[gradient, output, input, …, sizes, activation]`; where the results go comes before the sizes.
fn arguments(plan: &Launches, input: Arg) -> Vec<Arg> {
    let gradient = plan.gradient.clone();
    let [kind, parameter] = gradient.activation;
    vec![gradient.gradient, gradient.output, input, plan.conv.clone(), kind, parameter]
}

/// Pixels of the output in the batch.
pub(super) fn pixels(plan: &Launches) -> usize {
    plan.shape.batch * plan.shape.output[0] * plan.shape.output[1]
}

pub(super) fn weights(plan: &Launches) -> usize {
    plan.shape.weight_dims().iter().product()
}
