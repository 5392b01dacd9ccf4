//! Selects the kernels that compute the gradients, with a fixed rule.

use super::input::Grid;
use crate::conv::ConvShape;
use crate::cuda::Target;
use candle_core::DType;

/// The kernel that computes a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A direct kernel for groups of one input channel.
    Depthwise,
    /// Implicit GEMM on CUDA cores. The sums are f64 for f64, and f32 for all other dtypes.
    CudaCores(Tile),
    /// Implicit GEMM on tensor cores: f16, bf16, or f32 rounded to TF32.
    TensorCores(Tile),
}

/// The part of a result that one block computes. For each group, the result is a matrix `[rows, columns]`. For the
/// gradient of the input, the matrix is `[input channels, pixels]`; for the gradient of the weight, it is
/// `[output channels, input channels × taps]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// The tile for results with few rows.
    Narrow,
    /// The tile for little work. It is small, so that there are enough blocks for all multiprocessors.
    Medium,
    /// The tile for much work with too few rows for a large tile.
    Wide,
    /// The tile for much work. It has the fewest loads per product.
    Large,
}

/// The kernels that compute the gradients of the input and the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// The method for the gradient of the input.
    pub input: Method,
    /// The method for the gradient of the weight.
    pub weight: Method,
}

/// The minimum numbers of input and output channels in a group for tensor cores. The three channels of an RGB image are
/// enough: they leave most of a tile empty, but a tile of the slower CUDA cores would be as empty.
const MIN_TENSOR_CHANNELS: [usize; 2] = [3, 16];
/// The minimum number of multiply-adds for tensor cores. Packing their operands takes about 10 µs.
const MIN_TENSOR_WORK: usize = 1 << 26;
/// The maximum number of rows of the result for a narrow tile. The other tiles have at least 64 rows, at least half of
/// which would lie outside of such a result.
const MAX_NARROW: usize = 32;
/// The minimum number of rows of the result for a large tile. In the gradient of the weight, it is also the minimum
/// number of columns for a wide or large tile.
const MIN_LARGE: usize = 96;
/// The approximate number of pixels that a block of a weight gradient sums.
const BLOCK_PIXELS: usize = 512;
/// The number of blocks with which the gradient of the weight is assumed to keep a device busy. The number of
/// multiprocessors is not used, because the tile for this gradient must not depend on it.
const BLOCKS: usize = 128;

impl Methods {
    /// Selects the kernels:
    /// - Groups of one input channel use the direct kernel.
    /// - Tensor cores are used if the device has them and they support the dtype (f32 if TF32 is allowed), a group has
    ///   at least 3 input and 16 output channels, and the work justifies packing. Otherwise CUDA cores are used.
    /// - The tile is the largest one that the result fills and that gives every multiprocessor at least one block (two
    ///   for the wide tile). For the gradient of the weight, a constant replaces the number of multiprocessors, so that
    ///   the order of its sums depends only on the shape, the dtype and whether tensor cores are used.
    pub fn choose(shape: &ConvShape, dtype: DType, target: &Target) -> Self {
        if shape.group_in_channels() == 1 {
            return Self { input: Method::Depthwise, weight: Method::Depthwise };
        }
        let on_tensor_cores = use_tensor_cores(shape, dtype, target);
        let method = |tile| if on_tensor_cores { Method::TensorCores(tile) } else { Method::CudaCores(tile) };
        // The f64 sums of a wide or large tile would not fit in a thread's registers.
        let fits_large = dtype != DType::F64;
        Self {
            input: method(input_tile(shape, fits_large, target)),
            weight: method(weight_tile(shape, fits_large)),
        }
    }
}

/// Returns `true` if the gradients should be computed on tensor cores.
fn use_tensor_cores(shape: &ConvShape, dtype: DType, target: &Target) -> bool {
    let supported = match dtype {
        DType::F16 | DType::BF16 => true,
        DType::F32 => target.tf32,
        _ => false,
    };
    let channels = [shape.group_in_channels(), shape.group_out_channels()];
    let enough = channels.iter().zip(MIN_TENSOR_CHANNELS).all(|(given, min)| *given >= min);
    let work = shape.output_elements().saturating_mul(shape.depth());
    target.has_tensor_cores() && supported && enough && work >= MIN_TENSOR_WORK
}

/// Returns the tile for the gradient of the input. `fits_large` is `true` if the sums of wide and large tiles fit in a
/// thread's registers.
fn input_tile(shape: &ConvShape, fits_large: bool, target: &Target) -> Tile {
    let blocks = |tile: Tile| Grid::new(shape, tile.cuda_core_size()).blocks;
    let processors = target.multiprocessors as usize;
    match shape.group_in_channels() {
        ..=MAX_NARROW => Tile::Narrow,
        MIN_LARGE.. if fits_large && blocks(Tile::Large) >= processors => Tile::Large,
        _ if fits_large && blocks(Tile::Wide) >= 2 * processors => Tile::Wide,
        _ => Tile::Medium,
    }
}

/// Returns the tile for the gradient of the weight. `fits_large` has the same meaning as in [`input_tile`].
fn weight_tile(shape: &ConvShape, fits_large: bool) -> Tile {
    let rows = shape.group_out_channels();
    let columns = shape.depth();
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let blocks = |tile: Tile| {
        let [tile_rows, tile_columns] = tile.cuda_core_size();
        rows.div_ceil(tile_rows)
            * columns.div_ceil(tile_columns)
            * shape.geometry.groups
            * (pixels / BLOCK_PIXELS)
    };
    let allows_large = fits_large && columns >= MIN_LARGE;
    match rows {
        ..=MAX_NARROW => Tile::Narrow,
        MIN_LARGE.. if allows_large && blocks(Tile::Large) >= BLOCKS => Tile::Large,
        _ if allows_large && blocks(Tile::Wide) >= 2 * BLOCKS => Tile::Wide,
        _ => Tile::Medium,
    }
}

impl Tile {
    /// Returns the numbers of rows and columns of the tile on CUDA cores.
    pub(super) fn cuda_core_size(self) -> [usize; 2] {
        match self {
            Self::Narrow => [16, 128],
            Self::Medium => [64, 64],
            Self::Wide => [64, 128],
            Self::Large => [128, 128],
        }
    }

    /// Returns the numbers of rows and columns of the tile on tensor cores.
    pub(super) fn tensor_core_size(self) -> [usize; 2] {
        match self {
            Self::Narrow => [32, 128],
            Self::Medium => [64, 64],
            Self::Wide => [64, 128],
            Self::Large => [128, 128],
        }
    }
}
