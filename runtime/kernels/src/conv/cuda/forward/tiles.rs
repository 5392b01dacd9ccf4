//! The kernels and their tile sizes, as defined in the `.cu` files of this directory.
//!
//! For each group, an implicit GEMM multiplies the weight `[output channels, depth]` by the im2col matrix
//! `[depth, pixels]` of the input.

use crate::conv::ConvShape;
use candle_core::DType;

/// An implicit GEMM kernel, whose blocks compute tiles of output channels × pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// The stem of the `.cu` file's name.
    pub module: &'static str,
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The number of output channels in a tile.
    pub channels: usize,
    /// The number of pixels in a tile.
    pub pixels: usize,
    /// The part of the depth that one step of the loop processes: the number of products added to each sum.
    pub step: usize,
    /// The number of threads in a block.
    pub threads: usize,
    /// The numbers of channels and pixels that one warp computes on tensor cores, or one thread on CUDA cores.
    pub subtile: [usize; 2],
    /// The compute units that multiply.
    pub units: ComputeUnits,
    /// The number of bytes of shared memory that a block uses.
    pub shared: usize,
}

/// The compute units that multiply a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeUnits {
    /// CUDA cores.
    Scalar,
    /// Tensor cores.
    TensorCores(InputAccess),
}

/// How a tensor-core kernel reads the input: `InputAccess` in `input_rows.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputAccess {
    /// Element by element.
    Gathered,
    /// Four pixels at a time. Only for 1×1 convolutions with stride 1 and no padding whose planes have a multiple of
    /// four pixels.
    Dense,
    /// 16 bytes of channels at a time, from packed operands.
    Packed,
}

impl Tile {
    /// Returns `true` if the kernel reads packed operands.
    pub fn is_packed(&self) -> bool {
        self.units == ComputeUnits::TensorCores(InputAccess::Packed)
    }

    /// Returns the number of channels of a packed group, padded to a multiple of 16 bytes.
    pub fn packed_channels(&self, shape: &ConvShape) -> usize {
        shape.group_in_channels().next_multiple_of(16 / self.dtype.size_in_bytes())
    }

    /// Returns `true` if the rows of the weight must be padded: tensor-core kernels copy 4-byte words, and the rows are
    /// not a multiple of 4 bytes.
    pub fn pads_weight(&self, shape: &ConvShape) -> bool {
        let copies_words = self.units != ComputeUnits::Scalar && !self.is_packed();
        copies_words && !(shape.depth() * self.dtype.size_in_bytes()).is_multiple_of(4)
    }

    /// Returns the number of elements of an output channel's weight, with padding, as the kernel reads it.
    pub fn weight_row(&self, shape: &ConvShape) -> usize {
        if self.is_packed() {
            self.packed_channels(shape) * shape.kernel[0] * shape.kernel[1]
        } else if self.pads_weight(shape) {
            shape.depth().next_multiple_of(16 / self.dtype.size_in_bytes())
        } else {
            shape.depth()
        }
    }

    /// Returns the number of elements of the packed input and of the packed weight.
    pub fn packed_elements(&self, shape: &ConvShape) -> [usize; 2] {
        let pixels = shape.batch * shape.input[0] * shape.input[1];
        [
            pixels * shape.geometry.groups * self.packed_channels(shape),
            shape.out_channels * self.weight_row(shape),
        ]
    }

    /// Returns `step` as an offset `[high, middle, low]` in the depth: in `[channel, kernel y, kernel x]`, or in
    /// `[kernel y, kernel x, channel]` for packed operands. The kernel advances such indices with carries instead of
    /// divisions. Must match `RowStep` in `tiles.cuh`.
    pub fn row_step(&self, shape: &ConvShape) -> [usize; 3] {
        let [height, width] = shape.kernel;
        let (middle, low) =
            if self.is_packed() { (width, self.packed_channels(shape)) } else { (height, width) };
        [self.step / low / middle, self.step / low % middle, self.step % low]
    }

    /// Returns the number of steps along the whole depth.
    pub fn steps(&self, shape: &ConvShape) -> usize {
        self.weight_row(shape).div_ceil(self.step)
    }
}

/// The number of elements by which each row of sums in shared memory is padded: `SUMS_PAD` in `epilogue.cuh`.
pub const SUMS_PAD: usize = 8;
/// The size of a `Tap` in `gather.cuh`, in bytes.
pub const TAP_BYTES: usize = 16;
/// The size of a `Row` in `gather.cuh`, in bytes.
const ROW_BYTES: usize = 12;

/// Returns the size of the accumulators for `dtype`, in bytes.
pub fn accumulator_bytes(dtype: DType) -> usize {
    if dtype == DType::F64 { 8 } else { 4 }
}

/// Returns a kernel of `conv_scalar.cu`. `tile` is `[channels, pixels, step]`. `per_thread` has the numbers of channels
/// and pixels that a thread computes.
const fn scalar(kernel: &'static str, dtype: DType, tile: [usize; 3], per_thread: [usize; 2]) -> Tile {
    let [channels, pixels, step] = tile;
    let thread_rows = channels / per_thread[0];
    let bytes = if matches!(dtype, DType::F64) { 8 } else { 4 };
    // The loop has two buffers, each with the weight [step, channels + 4], the input [step, pixels] and a `Tap` for
    // each row of the step. It also has one `Row` for each row of the step. After the loop, the sums replace all of
    // these: four rows of pixels for each row of threads.
    let operands = 2 * step * (channels + 4 + pixels) * bytes + 2 * step * TAP_BYTES + step * ROW_BYTES;
    let sums = 4 * thread_rows * (pixels + SUMS_PAD) * bytes;
    Tile {
        module: "conv_scalar",
        kernel,
        dtype,
        channels,
        pixels,
        step,
        threads: thread_rows * (pixels / per_thread[1]),
        subtile: per_thread,
        units: ComputeUnits::Scalar,
        shared: if operands > sums { operands } else { sums },
    }
}

/// Returns a kernel of `conv_matrix.cuh`. `warps` has the numbers of warps along the channels and along the pixels.
const fn matrix(
    [module, kernel]: [&'static str; 2],
    dtype: DType,
    [channels, pixels]: [usize; 2],
    warps: [usize; 2],
    input: InputAccess,
) -> Tile {
    const STAGES: usize = 3;
    let bytes = if matches!(dtype, DType::F32) { 4 } else { 2 };
    let step = 64 / bytes;
    // Each of the `STAGES` buffers has the weight [channels, weight_row], the input and the taps. Each row of the
    // weight ends with 16 bytes of padding. After the loop, the sums of one row of warps replace the buffers.
    let weight_row = step + 16 / bytes;
    let (input_rows, taps) = match input {
        InputAccess::Packed => (pixels * weight_row, 4),
        _ => (step * (pixels + 8), step),
    };
    let operands = STAGES * ((channels * weight_row + input_rows) * bytes + taps * TAP_BYTES);
    let subtile = [channels / warps[0], pixels / warps[1]];
    let sums = subtile[0] * (pixels + SUMS_PAD) * 4;
    Tile {
        module,
        kernel,
        dtype,
        channels,
        pixels,
        step,
        threads: warps[0] * warps[1] * 32,
        subtile,
        units: ComputeUnits::TensorCores(input),
        shared: if operands > sums { operands } else { sums },
    }
}

/// The eight kernels of a file `conv_matrix_….cu`.
macro_rules! matrix_tiles {
    ($module:literal, $dtype:expr) => {
        [
            matrix(
                [$module, concat!($module, "_128x128")],
                $dtype,
                [128, 128],
                [2, 4],
                InputAccess::Gathered,
            ),
            matrix([$module, concat!($module, "_64x64")], $dtype, [64, 64], [2, 2], InputAccess::Gathered),
            matrix([$module, concat!($module, "_32x128")], $dtype, [32, 128], [1, 4], InputAccess::Gathered),
            matrix(
                [$module, concat!($module, "_128x128_dense")],
                $dtype,
                [128, 128],
                [2, 2],
                InputAccess::Dense,
            ),
            matrix([$module, concat!($module, "_64x64_dense")], $dtype, [64, 64], [2, 2], InputAccess::Dense),
            matrix(
                [$module, concat!($module, "_32x128_dense")],
                $dtype,
                [32, 128],
                [1, 4],
                InputAccess::Dense,
            ),
            matrix(
                [$module, concat!($module, "_128x128_packed")],
                $dtype,
                [128, 128],
                [2, 2],
                InputAccess::Packed,
            ),
            matrix(
                [$module, concat!($module, "_64x128_packed")],
                $dtype,
                [64, 128],
                [2, 2],
                InputAccess::Packed,
            ),
        ]
    };
}

const SCALAR: [Tile; 7] = [
    scalar("conv_scalar_f32_128x128", DType::F32, [128, 128, 8], [8, 8]),
    scalar("conv_scalar_f32_64x128", DType::F32, [64, 128, 16], [4, 8]),
    scalar("conv_scalar_f32_64x64", DType::F32, [64, 64, 16], [4, 4]),
    scalar("conv_scalar_f32_32x128", DType::F32, [32, 128, 16], [4, 4]),
    scalar("conv_scalar_f64_64x64", DType::F64, [64, 64, 8], [4, 4]),
    scalar("conv_scalar_f16_64x64", DType::F16, [64, 64, 16], [4, 4]),
    scalar("conv_scalar_bf16_64x64", DType::BF16, [64, 64, 16], [4, 4]),
];
const TF32: [Tile; 8] = matrix_tiles!("conv_matrix_tf32", DType::F32);
const F16: [Tile; 8] = matrix_tiles!("conv_matrix_f16", DType::F16);
const BF16: [Tile; 8] = matrix_tiles!("conv_matrix_bf16", DType::BF16);

/// Returns the implicit GEMM kernels for `dtype`.
pub fn tiles(dtype: DType) -> impl Iterator<Item = Tile> {
    let matrix = [TF32, F16, BF16].into_iter().flatten();
    SCALAR.into_iter().chain(matrix).filter(move |tile| tile.dtype == dtype)
}

/// A kernel of `conv_direct.cu`. A block keeps all weights of some channels in shared memory and computes 256 pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direct {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The number of output channels that a block computes.
    pub channels: usize,
}

impl Direct {
    /// The number of threads in a block.
    pub const THREADS: usize = 128;
    /// The number of pixels that a block computes.
    pub const PIXELS: usize = 256;

    /// Returns the number of bytes of shared memory that a block uses for sums of `depth` products.
    pub fn shared(&self, depth: usize) -> usize {
        let bytes = accumulator_bytes(self.dtype);
        // The weights [depth, channels + 4] and the taps [depth]. After the loop, the sums replace them.
        let weights = depth * ((self.channels + 4) * bytes + TAP_BYTES);
        weights.max(self.channels * (Self::PIXELS + SUMS_PAD) * bytes)
    }
}

macro_rules! direct_kernels {
    ($($name:literal: $dtype:ident [$($channels:literal),*]),*) => {
        [$($(Direct {
            kernel: concat!("conv_direct_", $name, "_", $channels),
            dtype: DType::$dtype,
            channels: $channels,
        }),*),*]
    };
}

const DIRECTS: [Direct; 14] = direct_kernels!(
    "f32": F32 [4, 8, 16, 32], "f64": F64 [4, 8], "f16": F16 [4, 8, 16, 32], "bf16": BF16 [4, 8, 16, 32]
);

/// Returns the direct kernels for `dtype`.
pub fn direct_kernels(dtype: DType) -> impl Iterator<Item = Direct> {
    DIRECTS.into_iter().filter(move |direct| direct.dtype == dtype)
}

/// A kernel of `conv_depthwise.cu`. In each image, a thread computes `rows` neighboring output pixels of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depthwise {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The only kernel size and stride that this CUDA kernel supports, each the same on both axes, with dilation 1.
    /// `None` if it supports all sizes, strides and dilations.
    pub size_and_stride: Option<[usize; 2]>,
    /// The number of neighboring output rows of a column that a thread computes.
    pub rows: usize,
}

impl Depthwise {
    /// The number of threads in a block.
    pub const THREADS: usize = 128;
}

macro_rules! specialized_depthwise {
    ($name:literal, $dtype:ident, $([$size:literal, $stride:literal, $rows:literal]),*) => {
        [$(Depthwise {
            kernel: concat!("conv_depthwise_", $name, "_", $size, "_", $stride, "_", $rows),
            dtype: DType::$dtype,
            size_and_stride: Some([$size, $stride]),
            rows: $rows,
        }),*]
    };
    ($name:literal, $dtype:ident) => {
        specialized_depthwise!(
            $name, $dtype, [3, 1, 8], [3, 1, 2], [3, 2, 4], [3, 2, 1], [5, 1, 4], [5, 2, 2], [7, 1, 4]
        )
    };
}

/// The depthwise kernels that support one size and stride.
const SPECIALIZED: [[Depthwise; 7]; 3] = [
    specialized_depthwise!("f32", F32),
    specialized_depthwise!("f16", F16),
    specialized_depthwise!("bf16", BF16),
];

/// The depthwise kernels that support all sizes, strides and dilations.
const GENERAL: [&str; 4] =
    ["conv_depthwise_f32", "conv_depthwise_f64", "conv_depthwise_f16", "conv_depthwise_bf16"];

/// Returns the depthwise kernels for `dtype`. For each size and stride, kernels with more rows come first. The kernel
/// that supports all sizes, strides and dilations comes last.
pub fn depthwise_kernels(dtype: DType) -> impl Iterator<Item = Depthwise> {
    let general =
        by_dtype(GENERAL, dtype).map(|kernel| Depthwise { kernel, dtype, size_and_stride: None, rows: 1 });
    SPECIALIZED.into_iter().flatten().filter(move |kernel| kernel.dtype == dtype).chain(general)
}

/// The side of a tile of `conv_pack.cu`: its number of pixels and of channels.
pub const PACK_TILE: usize = 64;
/// The number of threads in a block of `conv_pack.cu`.
pub const PACK_THREADS: usize = 256;

/// Returns the kernels of `conv_pack.cu` that pack the input and the weight, or `None` if `dtype` has no tensor-core
/// kernels.
pub fn pack_kernels(dtype: DType) -> Option<[&'static str; 2]> {
    match dtype {
        DType::F32 => Some(["conv_pack_input_f32", "conv_pack_weight_f32"]),
        DType::F16 => Some(["conv_pack_input_f16", "conv_pack_weight_f16"]),
        DType::BF16 => Some(["conv_pack_input_bf16", "conv_pack_weight_bf16"]),
        _ => None,
    }
}

/// Returns the kernel of `conv_pack.cu` that pads the rows of the weight, or `None` if `dtype` is not f16 or bf16.
pub fn pad_kernel(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 => Some("conv_pad_weight_f16"),
        DType::BF16 => Some("conv_pad_weight_bf16"),
        _ => None,
    }
}

/// Returns the kernel of `conv_slices.cu` for `dtype`.
pub fn slices_kernel(dtype: DType) -> Option<&'static str> {
    by_dtype(["conv_slices_f32", "conv_slices_f64", "conv_slices_f16", "conv_slices_bf16"], dtype)
}

/// Returns the kernel for `dtype`. `kernels` are those for f32, f64, f16 and bf16, in this order.
fn by_dtype(kernels: [&'static str; 4], dtype: DType) -> Option<&'static str> {
    let i = [DType::F32, DType::F64, DType::F16, DType::BF16].iter().position(|known| *known == dtype)?;
    Some(kernels[i])
}
