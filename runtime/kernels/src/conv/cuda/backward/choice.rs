//! Which kernels compute the gradients: the written rule.

use super::input::Grid;
use crate::conv::ConvShape;
use crate::cuda::Target;
use candle_core::DType;

/// How a gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Directly, for one input channel a group.
    Depthwise,
    /// As an implicit GEMM with multiply-adds, in the dtype's accumulator.
    Cores(Tile),
    /// As an implicit GEMM on tensor cores: f16, bf16, or f32 rounded to TF32.
    TensorCores(Tile),
}

/// The part of the result that one block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// For few channels.
    Narrow,
    /// For little work, so that it fills the device.
    Medium,
    /// For few more channels than that, and much work.
    Wide,
    /// For much work: the fewest loads for each product.
    Large,
}

/// How the gradients of input and weight are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// The method for the gradient of the input.
    pub input: Method,
    /// The method for the gradient of the weight.
    pub weight: Method,
}

/// Input and output channels of a group from which tensor cores pay for what padding wastes. An image's three
/// are enough: multiply-adds waste as much of a tile, and are slower.
const TENSOR_CHANNELS: [usize; 2] = [3, 16];
/// Multiply-adds from which they pay for the launches that pack their operands, some 10 µs.
const TENSOR_WORK: usize = 1 << 26;
/// Rows up to which the narrow tile wastes less than the others.
const NARROW: usize = 32;
/// Rows and columns from which a large tile is full enough, and columns for a wide one.
const LARGE: usize = 96;
/// Where the sum over the pixels is cut until it fills a device: pixels of each block, and blocks that do.
const BLOCK_PIXELS: usize = 512;
const BLOCKS: usize = 128;

impl Methods {
    /// - One input channel a group: directly.
    /// - Tensor cores, where the device has them, the dtype is theirs (f32: where TF32 is allowed), a group has
    ///   at least 3 input and 16 output channels and the work is worth the packing; else multiply-adds.
    /// - The largest tile that the result fills and that leaves a block to every multiprocessor, two of the wide
    ///   one. For the weight, enough is a constant: how its sums are cut depends on the shape and the dtype alone.
    pub fn choose(shape: &ConvShape, dtype: DType, target: &Target) -> Self {
        if shape.group_inputs() == 1 {
            return Self { input: Method::Depthwise, weight: Method::Depthwise };
        }
        let tensor = on_tensor_cores(shape, dtype, target);
        let method = |tile| if tensor { Method::TensorCores(tile) } else { Method::Cores(tile) };
        // Else a thread's sums would not fit into its registers.
        let large = dtype != DType::F64;
        Self {
            input: method(tile_of_input(shape, large, target)),
            weight: method(tile_of_weight(shape, large)),
        }
    }
}

fn on_tensor_cores(shape: &ConvShape, dtype: DType, target: &Target) -> bool {
    let theirs = match dtype {
        DType::F16 | DType::BF16 => true,
        DType::F32 => target.tf32,
        _ => false,
    };
    let channels = [shape.group_inputs(), shape.group_outputs()];
    let enough = channels.iter().zip(TENSOR_CHANNELS).all(|(given, least)| *given >= least);
    let work = shape.output_elements().saturating_mul(shape.taps());
    target.has_tensor_cores() && theirs && enough && work >= TENSOR_WORK
}

fn tile_of_input(shape: &ConvShape, large: bool, target: &Target) -> Tile {
    let blocks = |tile: Tile| Grid::new(shape, tile.on_cores()).blocks;
    let processors = target.multiprocessors as usize;
    match shape.group_inputs() {
        ..=NARROW => Tile::Narrow,
        LARGE.. if large && blocks(Tile::Large) >= processors => Tile::Large,
        _ if large && blocks(Tile::Wide) >= 2 * processors => Tile::Wide,
        _ => Tile::Medium,
    }
}

fn tile_of_weight(shape: &ConvShape, large: bool) -> Tile {
    let (rows, columns) = (shape.group_outputs(), shape.taps());
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let blocks = |tile: Tile| {
        let [high, wide] = tile.on_cores();
        rows.div_ceil(high) * columns.div_ceil(wide) * shape.geometry.groups * (pixels / BLOCK_PIXELS)
    };
    let large = large && columns >= LARGE;
    match rows {
        ..=NARROW => Tile::Narrow,
        LARGE.. if large && blocks(Tile::Large) >= BLOCKS => Tile::Large,
        _ if large && blocks(Tile::Wide) >= 2 * BLOCKS => Tile::Wide,
        _ => Tile::Medium,
    }
}

impl Tile {
    /// Rows and columns, where multiply-adds compute it.
    pub(super) fn on_cores(self) -> [usize; 2] {
        match self {
            Self::Narrow => [16, 128],
            Self::Medium => [64, 64],
            Self::Wide => [64, 128],
            Self::Large => [128, 128],
        }
    }

    /// Rows and columns, where tensor cores do.
    pub(super) fn on_tensor_cores(self) -> [usize; 2] {
        match self {
            Self::Narrow => [32, 128],
            Self::Medium => [64, 64],
            Self::Wide => [64, 128],
            Self::Large => [128, 128],
        }
    }
}
