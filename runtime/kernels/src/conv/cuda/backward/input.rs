//! The gradient of the input.

use super::choice::{Method, Tile};
use super::launches::{Launches, THREADS};
use super::sizes::int;
use super::tensor_cores;
use crate::conv::ConvShape;
use crate::cuda::{Arg, named};
use candle_core::Result;

/// The tiles of an input gradient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub channel_tiles: usize,
    /// Of the phase with the most pixels, the first.
    pub pixel_tiles: usize,
    pub blocks: usize,
}

impl Grid {
    pub fn new(shape: &ConvShape, [channels, pixels]: [usize; 2]) -> Self {
        let channel_tiles = shape.group_inputs().div_ceil(channels);
        let pixel_tiles = (shape.batch * phase(shape).iter().product::<usize>()).div_ceil(pixels);
        let blocks = channel_tiles * pixel_tiles * shape.geometry.groups * phases(shape);
        Self { channel_tiles, pixel_tiles, blocks }
    }
}

/// The residue classes of the stride that have input positions.
fn phases(shape: &ConvShape) -> usize {
    (0..2).map(|i| shape.geometry.stride[i].min(shape.input[i])).product()
}

/// The rows and columns of the first phase.
fn phase(shape: &ConvShape) -> [usize; 2] {
    [0, 1].map(|i| shape.input[i].div_ceil(shape.geometry.stride[i]))
}

/// Adds the gradient of the input, plus a bias where one is given.
pub(super) fn gradient(
    plan: &mut Launches,
    method: Method,
    weight: Arg,
    bias: Arg,
    result: Arg,
) -> Result<()> {
    match method {
        Method::Depthwise => depthwise(plan, weight, bias, result),
        Method::Cores(tile) => cores(plan, tile, weight, bias, result),
        Method::TensorCores(tile) => tensor_cores::input(plan, tile, weight, bias, result),
    }
}

fn cores(plan: &mut Launches, tile: Tile, weight: Arg, bias: Arg, result: Arg) -> Result<()> {
    plan.check_tile(tile)?;
    let kernel = match tile {
        Tile::Narrow => named!(plan.dtype, "conv_backward_input_narrow"),
        Tile::Medium => named!(plan.dtype, "conv_backward_input_medium"),
        Tile::Wide => named!(plan.dtype, "conv_backward_input_wide"),
        Tile::Large => named!(plan.dtype, "conv_backward_input_large"),
    };
    let grid = Grid::new(plan.shape, tile.on_cores());
    let mut args = arguments(plan, weight, bias, result);
    args.extend([Arg::Int(int(grid.channel_tiles)?), Arg::Int(int(grid.pixel_tiles)?)]);
    plan.launch(["conv_backward_input", kernel], grid.blocks, THREADS, 0, args)
}

fn depthwise(plan: &mut Launches, weight: Arg, bias: Arg, result: Arg) -> Result<()> {
    let kernel = match plan.shape.geometry.stride {
        [1, 1] => named!(plan.dtype, "conv_backward_depthwise_input_s1"),
        [2, 2] => named!(plan.dtype, "conv_backward_depthwise_input_s2"),
        _ => named!(plan.dtype, "conv_backward_depthwise_input_any"),
    };
    let ConvShape { batch, in_channels, input, .. } = *plan.shape;
    let tiles = (input[0] * input[1]).div_ceil(THREADS as usize);
    let mut args = arguments(plan, weight, bias, result);
    args.push(Arg::Int(int(tiles)?));
    plan.launch(["conv_backward_depthwise", kernel], batch * in_channels * tiles, THREADS, 0, args)
}

/// What both kernels take first.
fn arguments(plan: &Launches, weight: Arg, bias: Arg, result: Arg) -> Vec<Arg> {
    let gradient = plan.gradient.clone();
    let [kind, parameter] = gradient.activation;
    let conv = plan.conv.clone();
    vec![gradient.gradient, gradient.output, weight, bias, result, conv, kind, parameter]
}
