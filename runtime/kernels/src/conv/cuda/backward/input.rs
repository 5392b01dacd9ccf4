//! The gradient of the input.

use super::choice::{Method, Tile};
use super::program_builder::{ProgramBuilder, THREADS};
use super::sizes::int;
use super::tensor_cores;
use crate::conv::ConvShape;
use crate::cuda::{Arg, named};
use candle_core::Result;

/// The grid of a launch that computes an input gradient: one block for each group, phase, channel tile and pixel tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// The number of tiles along the input channels of a group.
    pub channel_tiles: usize,
    /// The number of tiles along the pixels of the first phase, which has the most pixels. The grid has as many tiles
    /// for each of the other phases.
    pub pixel_tiles: usize,
    /// The total number of blocks.
    pub blocks: usize,
}

impl Grid {
    /// Returns the grid for tiles of `channels` × `pixels`.
    pub fn new(shape: &ConvShape, [channels, pixels]: [usize; 2]) -> Self {
        let channel_tiles = shape.group_in_channels().div_ceil(channels);
        let pixel_tiles = (shape.batch * first_phase_size(shape).iter().product::<usize>()).div_ceil(pixels);
        let blocks = channel_tiles * pixel_tiles * shape.geometry.groups * phases(shape);
        Self { channel_tiles, pixel_tiles, blocks }
    }
}

/// Returns the number of phases that contain at least one input pixel.
fn phases(shape: &ConvShape) -> usize {
    (0..2).map(|i| shape.geometry.stride[i].min(shape.input[i])).product()
}

/// Returns the numbers of rows and columns of the first phase.
fn first_phase_size(shape: &ConvShape) -> [usize; 2] {
    [0, 1].map(|i| shape.input[i].div_ceil(shape.geometry.stride[i]))
}

/// Adds the launches that write the gradient of the input to `result`. They add the bias of each input channel if
/// `bias` is not [`Arg::Absent`]; the forward pass of a transposed convolution needs this addition.
pub(super) fn gradient(
    builder: &mut ProgramBuilder,
    method: Method,
    weight: Arg,
    bias: Arg,
    result: Arg,
) -> Result<()> {
    match method {
        Method::Depthwise => depthwise(builder, weight, bias, result),
        Method::CudaCores(tile) => cuda_cores(builder, tile, weight, bias, result),
        Method::TensorCores(tile) => tensor_cores::input(builder, tile, weight, bias, result),
    }
}

fn cuda_cores(builder: &mut ProgramBuilder, tile: Tile, weight: Arg, bias: Arg, result: Arg) -> Result<()> {
    builder.check_tile(tile)?;
    let kernel = match tile {
        Tile::Narrow => named!(builder.dtype, "conv_backward_input_narrow"),
        Tile::Medium => named!(builder.dtype, "conv_backward_input_medium"),
        Tile::Wide => named!(builder.dtype, "conv_backward_input_wide"),
        Tile::Large => named!(builder.dtype, "conv_backward_input_large"),
    };
    let grid = Grid::new(builder.shape, tile.cuda_core_size());
    let mut args = arguments(builder, weight, bias, result);
    args.extend([Arg::Int(int(grid.channel_tiles)?), Arg::Int(int(grid.pixel_tiles)?)]);
    builder.launch(["conv_backward_input", kernel], grid.blocks, THREADS, 0, args)
}

fn depthwise(builder: &mut ProgramBuilder, weight: Arg, bias: Arg, result: Arg) -> Result<()> {
    let kernel = match builder.shape.geometry.stride {
        [1, 1] => named!(builder.dtype, "conv_backward_depthwise_input_s1"),
        [2, 2] => named!(builder.dtype, "conv_backward_depthwise_input_s2"),
        _ => named!(builder.dtype, "conv_backward_depthwise_input_any"),
    };
    let ConvShape { batch, in_channels, input, .. } = *builder.shape;
    let tiles = (input[0] * input[1]).div_ceil(THREADS as usize);
    let mut args = arguments(builder, weight, bias, result);
    args.push(Arg::Int(int(tiles)?));
    builder.launch(["conv_backward_depthwise", kernel], batch * in_channels * tiles, THREADS, 0, args)
}

/// Returns the first arguments of the depthwise kernels and of the kernels for CUDA cores.
fn arguments(builder: &ProgramBuilder, weight: Arg, bias: Arg, result: Arg) -> Vec<Arg> {
    let gradient = builder.gradient.clone();
    let [kind, parameter] = gradient.activation;
    let conv = builder.conv.clone();
    vec![gradient.gradient, gradient.output, weight, bias, result, conv, kind, parameter]
}
