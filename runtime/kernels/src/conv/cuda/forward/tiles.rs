//! The kernels there are: the tiles that they cut a convolution into, as the `.cu` files beside this one have
//! them.

use crate::conv::ConvShape;
use candle_core::DType;

/// A tile of an implicit matrix product: so many output channels by so many pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// The stem of the `.cu` file's name.
    pub module: &'static str,
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The output channels of a tile.
    pub channels: usize,
    /// The pixels of a tile.
    pub pixels: usize,
    /// Products of each sum that one step of the loop adds.
    pub step: usize,
    /// The threads of a block.
    pub threads: usize,
    /// The channels and pixels of one warp's part (of one thread's on ordinary units).
    pub part: [usize; 2],
    /// The units that multiply.
    pub units: Units,
    /// Bytes of shared memory of a block.
    pub shared: usize,
}

/// What a tile is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Ordinary multiply-adds.
    Scalar,
    /// Tensor cores, with the way they read the input.
    TensorCores(Input),
}

/// How tensor cores' kernels read the input: the `Input` of `input_rows.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Element by element.
    Gathered,
    /// Four pixels at a time, where each output pixel is an input pixel and four divides the plane.
    Dense,
    /// 16 bytes of channels at a time, from a layout that two launches make of the input and the weight.
    Packed,
}

impl Tile {
    /// Returns whether the kernel reads packed operands.
    pub fn is_packed(&self) -> bool {
        self.units == Units::TensorCores(Input::Packed)
    }

    /// The channels of a packed group: filled up to whole 16 bytes.
    pub fn packed_channels(&self, shape: &ConvShape) -> usize {
        shape.group_inputs().next_multiple_of(16 / self.dtype.size_in_bytes())
    }

    /// Whether the weight's rows have to be filled up: tensor cores' kernels copy it by words.
    pub fn pads_weight(&self, shape: &ConvShape) -> bool {
        let copied = self.units != Units::Scalar && !self.is_packed();
        copied && !(shape.taps() * self.dtype.size_in_bytes()).is_multiple_of(4)
    }

    /// The length of each output channel's weight as the kernel reads it.
    pub fn weight_row(&self, shape: &ConvShape) -> usize {
        if self.is_packed() {
            self.packed_channels(shape) * shape.kernel[0] * shape.kernel[1]
        } else if self.pads_weight(shape) {
            shape.taps().next_multiple_of(16 / self.dtype.size_in_bytes())
        } else {
            shape.taps()
        }
    }

    /// The elements of a packed input and of a packed weight.
    pub fn packed_elements(&self, shape: &ConvShape) -> [usize; 2] {
        let pixels = shape.batch * shape.input[0] * shape.input[1];
        [
            pixels * shape.geometry.groups * self.packed_channels(shape),
            shape.out_channels * self.weight_row(shape),
        ]
    }

    /// The step of the loop as the digits of a row's number: the structure `RowStep` of `tiles.cuh`.
    pub fn row_step(&self, shape: &ConvShape) -> [usize; 3] {
        let [height, width] = shape.kernel;
        let (middle, low) =
            if self.is_packed() { (width, self.packed_channels(shape)) } else { (height, width) };
        [self.step / low / middle, self.step / low % middle, self.step % low]
    }

    /// The steps along the whole depth.
    pub fn steps(&self, shape: &ConvShape) -> usize {
        self.weight_row(shape).div_ceil(self.step)
    }
}

/// What a row of sums in shared memory is longer than its tile: `FINISH_PAD` in `finish.cuh`.
pub const FINISH_PAD: usize = 8;
/// The bytes of a `Tap` in `gather.cuh`.
pub const TAP: usize = 16;
/// The bytes of a `Row` there.
const ROW: usize = 12;

/// Bytes of the type that sums of `dtype` are made in.
pub fn accumulator_bytes(dtype: DType) -> usize {
    if dtype == DType::F64 { 8 } else { 4 }
}

/// A tile of `conv_scalar.cu`; `each` is a thread's part.
const fn scalar(kernel: &'static str, dtype: DType, tile: [usize; 3], each: [usize; 2]) -> Tile {
    let [channels, pixels, step] = tile;
    let down = channels / each[0];
    let bytes = if matches!(dtype, DType::F64) { 8 } else { 4 };
    let operands = 2 * step * (channels + 4 + pixels) * bytes + 2 * step * TAP + step * ROW;
    let sums = 4 * down * (pixels + FINISH_PAD) * bytes;
    Tile {
        module: "conv_scalar",
        kernel,
        dtype,
        channels,
        pixels,
        step,
        threads: down * (pixels / each[1]),
        part: each,
        units: Units::Scalar,
        shared: if operands > sums { operands } else { sums },
    }
}

/// A tile of `conv_matrix.cuh`; `warps` are those down and across.
const fn matrix(
    [module, kernel]: [&'static str; 2],
    dtype: DType,
    [channels, pixels]: [usize; 2],
    warps: [usize; 2],
    input: Input,
) -> Tile {
    const STAGES: usize = 3;
    let bytes = if matches!(dtype, DType::F32) { 4 } else { 2 };
    let step = 64 / bytes;
    let weight_row = step + 16 / bytes;
    let (input_rows, taps) = match input {
        Input::Packed => (pixels * weight_row, 4),
        _ => (step * (pixels + 8), step),
    };
    let operands = STAGES * ((channels * weight_row + input_rows) * bytes + taps * TAP);
    let part = [channels / warps[0], pixels / warps[1]];
    let sums = part[0] * (pixels + FINISH_PAD) * 4;
    Tile {
        module,
        kernel,
        dtype,
        channels,
        pixels,
        step,
        threads: warps[0] * warps[1] * 32,
        part,
        units: Units::TensorCores(input),
        shared: if operands > sums { operands } else { sums },
    }
}

/// The eight tiles of one of the files `conv_matrix_….cu`.
macro_rules! matrix_tiles {
    ($module:literal, $dtype:expr) => {
        [
            matrix([$module, concat!($module, "_128x128")], $dtype, [128, 128], [2, 4], Input::Gathered),
            matrix([$module, concat!($module, "_64x64")], $dtype, [64, 64], [2, 2], Input::Gathered),
            matrix([$module, concat!($module, "_32x128")], $dtype, [32, 128], [1, 4], Input::Gathered),
            matrix([$module, concat!($module, "_128x128_dense")], $dtype, [128, 128], [2, 2], Input::Dense),
            matrix([$module, concat!($module, "_64x64_dense")], $dtype, [64, 64], [2, 2], Input::Dense),
            matrix([$module, concat!($module, "_32x128_dense")], $dtype, [32, 128], [1, 4], Input::Dense),
            matrix([$module, concat!($module, "_128x128_packed")], $dtype, [128, 128], [2, 2], Input::Packed),
            matrix([$module, concat!($module, "_64x128_packed")], $dtype, [64, 128], [2, 2], Input::Packed),
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

/// All tiles for `dtype`.
pub fn tiles(dtype: DType) -> impl Iterator<Item = Tile> {
    let matrix = [TF32, F16, BF16].into_iter().flatten();
    SCALAR.into_iter().chain(matrix).filter(move |tile| tile.dtype == dtype)
}

/// The kernels of `conv_direct.cu`: a block keeps all weights of some channels, and 256 pixels of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direct {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The output channels of a block.
    pub channels: usize,
}

impl Direct {
    /// The threads of a block.
    pub const THREADS: usize = 128;
    /// The pixels of a block.
    pub const PIXELS: usize = 256;

    /// Bytes of shared memory for sums of `depth` products.
    pub fn shared(&self, depth: usize) -> usize {
        let bytes = accumulator_bytes(self.dtype);
        // A row of weights is four longer than it has channels.
        let weights = depth * ((self.channels + 4) * bytes + TAP);
        weights.max(self.channels * (Self::PIXELS + FINISH_PAD) * bytes)
    }
}

macro_rules! directs {
    ($($name:literal: $dtype:ident [$($channels:literal),*]),*) => {
        [$($(Direct {
            kernel: concat!("conv_direct_", $name, "_", $channels),
            dtype: DType::$dtype,
            channels: $channels,
        }),*),*]
    };
}

const DIRECTS: [Direct; 14] = directs!(
    "f32": F32 [4, 8, 16, 32], "f64": F64 [4, 8], "f16": F16 [4, 8, 16, 32], "bf16": BF16 [4, 8, 16, 32]
);

pub fn directs(dtype: DType) -> impl Iterator<Item = Direct> {
    DIRECTS.into_iter().filter(move |direct| direct.dtype == dtype)
}

/// The kernels of `conv_depthwise.cu`: a thread makes `rows` output pixels of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depthwise {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The kernel's size and the stride, both ways, of those without dilation; `None` for one that takes any.
    pub square: Option<[usize; 2]>,
    /// The output rows that a thread computes.
    pub rows: usize,
}

impl Depthwise {
    /// The threads of a block.
    pub const THREADS: usize = 128;
}

macro_rules! depthwise_squares {
    ($name:literal, $dtype:ident, $([$size:literal, $stride:literal, $rows:literal]),*) => {
        [$(Depthwise {
            kernel: concat!("conv_depthwise_", $name, "_", $size, "_", $stride, "_", $rows),
            dtype: DType::$dtype,
            square: Some([$size, $stride]),
            rows: $rows,
        }),*]
    };
    ($name:literal, $dtype:ident) => {
        depthwise_squares!(
            $name, $dtype, [3, 1, 8], [3, 1, 2], [3, 2, 4], [3, 2, 1], [5, 1, 4], [5, 2, 2], [7, 1, 4]
        )
    };
}

const SQUARES: [[Depthwise; 7]; 3] =
    [depthwise_squares!("f32", F32), depthwise_squares!("f16", F16), depthwise_squares!("bf16", BF16)];

const ANY: [&str; 4] =
    ["conv_depthwise_f32", "conv_depthwise_f64", "conv_depthwise_f16", "conv_depthwise_bf16"];

/// All kernels for `dtype`, of each size and stride the one of the most rows first, those for any size last.
pub fn depthwises(dtype: DType) -> impl Iterator<Item = Depthwise> {
    let any = by_dtype(ANY, dtype).map(|kernel| Depthwise { kernel, dtype, square: None, rows: 1 });
    SQUARES.into_iter().flatten().filter(move |kernel| kernel.dtype == dtype).chain(any)
}

/// The pixels and the channels of a tile of `conv_pack.cu`, and its threads.
pub const PACK_TILE: usize = 64;
pub const PACK_THREADS: usize = 256;

/// The kernels of `conv_pack.cu`, of the input and of the weight.
pub fn packs(dtype: DType) -> Option<[&'static str; 2]> {
    match dtype {
        DType::F32 => Some(["conv_pack_input_f32", "conv_pack_weight_f32"]),
        DType::F16 => Some(["conv_pack_input_f16", "conv_pack_weight_f16"]),
        DType::BF16 => Some(["conv_pack_input_bf16", "conv_pack_weight_bf16"]),
        _ => None,
    }
}

/// The kernel of `conv_pack.cu` that fills up the weight's rows.
pub fn pad(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 => Some("conv_pad_weight_f16"),
        DType::BF16 => Some("conv_pad_weight_bf16"),
        _ => None,
    }
}

/// The kernel of `conv_slices.cu`.
pub fn slices(dtype: DType) -> Option<&'static str> {
    by_dtype(["conv_slices_f32", "conv_slices_f64", "conv_slices_f16", "conv_slices_bf16"], dtype)
}

fn by_dtype(kernels: [&'static str; 4], dtype: DType) -> Option<&'static str> {
    let i = [DType::F32, DType::F64, DType::F16, DType::BF16].iter().position(|known| *known == dtype)?;
    Some(kernels[i])
}
