//! The kernels of `conv_hopper.cuh` for compute capability 9.0, and the padded layout of their input, which
//! `padded_layout.cuh` describes.
//!
//! A position is an index in this layout: an input pixel, or a zero between rows or images. With a stride, the input is
//! split into phases, and each phase has a layout of its own. A channel vector is 16 bytes of consecutive channels of
//! one position, which are contiguous in shared memory. A chunk is 8 channel vectors. A pixel run is the 1, 2 or 4
//! neighboring pixels that one load reads. A stage is a buffer in shared memory for one chunk of an operand: of the
//! input, or of the weight of one tap.

use super::sizes::int;
use super::tiles::SUMS_PAD;
use crate::conv::ConvShape;
use crate::cuda::Arg;
use candle_core::{DType, Result};

/// A kernel whose tiles are [`Hopper::CHANNELS`] output channels × `positions` positions of the padded layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hopper {
    /// The stem of the `.cu` file's name.
    pub module: &'static str,
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The number of positions in a tile.
    pub positions: usize,
}

// The constants `CHUNK_VECTORS` to `MAX_TAPS` must match the constants of the same names in `staged.cuh` and
// `padded_layout.cuh`.

/// The number of channel vectors in a chunk.
const CHUNK_VECTORS: usize = 8;
/// The number of stages of the weight.
const WEIGHT_STAGES: usize = 3;
/// The number of stages of the input. A single chunk needs only one.
const INPUT_STAGES: usize = 2;
/// The number of threads of a block that load the input.
const LOADERS: usize = 64;
/// The maximum number of phases.
const MAX_PHASES: usize = 4;
/// The maximum number of taps.
const MAX_TAPS: usize = 49;

/// The number of bytes of a channel vector.
const VECTOR_BYTES: usize = 16;
/// The number of bytes of all barriers, 8 each. Each stage has two barriers: one is signaled when the stage is full,
/// the other when it is free.
const BARRIER_BYTES: usize = 8 * 2 * (WEIGHT_STAGES + INPUT_STAGES);
/// The number of bytes of the structure `PixelRun` of `padded_layout.cuh`.
const PIXEL_RUN_BYTES: usize = 8;
/// The maximum number of positions or elements. Kernels count in an `int`, and the last tile may extend beyond the
/// count.
const MAX_COUNT: usize = 1 << 30;

macro_rules! hopper_kernels {
    ($($module:literal: $dtype:ident),*) => {
        [$(
            Hopper { module: $module, kernel: concat!($module, "_128"), dtype: DType::$dtype, positions: 128 },
            Hopper { module: $module, kernel: concat!($module, "_64"), dtype: DType::$dtype, positions: 64 },
        )*]
    };
}

const KERNELS: [Hopper; 6] =
    hopper_kernels!("conv_hopper_tf32": F32, "conv_hopper_f16": F16, "conv_hopper_bf16": BF16);

/// Returns the kernels for `dtype`.
pub fn hopper_kernels(dtype: DType) -> impl Iterator<Item = Hopper> {
    KERNELS.into_iter().filter(move |kernel| kernel.dtype == dtype)
}

impl Hopper {
    /// The number of output channels that a block computes.
    pub const CHANNELS: usize = 128;
    /// The number of threads in a block.
    pub const THREADS: usize = 256 + LOADERS;
    /// The number of threads in a block of the kernel that packs the weight.
    pub const PACK_THREADS: usize = 256;

    /// Returns the number of channels in a chunk.
    fn chunk_channels(&self) -> usize {
        CHUNK_VECTORS * self.vector_channels()
    }

    /// Returns the number of channels in a channel vector.
    pub fn vector_channels(&self) -> usize {
        VECTOR_BYTES / self.dtype.size_in_bytes()
    }

    /// Returns how many loads each of the `LOADERS` threads issues for one chunk of the input. A load reads one pixel
    /// run of one channel.
    pub fn loads(&self, layout: &PaddedLayout) -> usize {
        let runs = layout.phases.len() * layout.rows * layout.runs_per_row;
        (runs * self.chunk_channels()).div_ceil(LOADERS)
    }

    /// Returns the name of the kernel that packs the weight.
    pub fn pack(&self) -> &'static str {
        match self.dtype {
            DType::F16 => "conv_hopper_pack_f16",
            DType::BF16 => "conv_hopper_pack_bf16",
            _ => "conv_hopper_pack_tf32",
        }
    }

    /// Returns the number of elements of the packed weight.
    pub fn packed_elements(&self, shape: &ConvShape, layout: &PaddedLayout) -> usize {
        let [height, width] = shape.kernel;
        let stages = shape.geometry.groups * layout.channel_tiles * layout.chunks * height * width;
        stages * Self::CHANNELS * self.chunk_channels()
    }

    /// Returns the number of bytes of shared memory that a block uses.
    pub fn shared(&self, layout: &PaddedLayout) -> usize {
        let weights = WEIGHT_STAGES * Self::CHANNELS * CHUNK_VECTORS * VECTOR_BYTES;
        let inputs = INPUT_STAGES.min(layout.chunks)
            * layout.phases.len()
            * layout.read_positions
            * CHUNK_VECTORS
            * VECTOR_BYTES;
        // The table of the pixel runs, and the table of each position's offset in the output.
        let tables =
            layout.phases.len() * layout.rows * layout.runs_per_row * PIXEL_RUN_BYTES + self.positions * 4;
        // After the last product, the sums replace the weights and inputs.
        let sums = Self::CHANNELS * (self.positions + SUMS_PAD) * 4;
        (BARRIER_BYTES + tables).next_multiple_of(128) + (weights + inputs).max(sums)
    }
}

/// The structures `PaddedLayout` and `Taps` of `padded_layout.cuh`.
#[derive(Clone, Debug, PartialEq)]
pub struct PaddedLayout {
    /// The number of positions of a row.
    pitch: usize,
    /// The number of positions of an image.
    image: usize,
    /// The first position that the tile at position 0 reads; negative with padding.
    first: isize,
    /// The number of positions of each phase that a tile reads, a multiple of 8.
    read_positions: usize,
    /// The phases that taps read, each as its residues `[row, column]` modulo the stride.
    phases: Vec<[usize; 2]>,
    /// The number of pixels in a pixel run.
    run_pixels: usize,
    /// The number of pixel runs in a row.
    runs_per_row: usize,
    /// The number of rows of each phase that a tile reads.
    rows: usize,
    /// The number of tiles along the output channels of a group.
    pub channel_tiles: usize,
    /// The number of tiles along the positions.
    pub position_tiles: usize,
    /// The number of chunks of the input channels of a group.
    pub chunks: usize,
    /// For each tap, the position that the tile's first output reads, counted from the first position in the input
    /// stage. The stage contains the `read_positions` positions of each phase, one phase after another.
    taps: Vec<usize>,
}

/// The taps along one axis.
struct Axis {
    /// For each tap, the phase that it reads and its shift within the phase. At output `i`, the tap reads the pixel
    /// `i + shift` of the phase, which is the input pixel `(i + shift) * stride + phase`.
    taps: Vec<(usize, isize)>,
    /// The phases that taps read, in ascending order.
    phases: Vec<usize>,
    /// The number of positions of a phase along this axis in the padded layout, including the zeros after each image
    /// (for rows) or after each row (for columns).
    positions: usize,
    /// The number of pixels of the longest phase along this axis.
    pixels: usize,
}

impl Axis {
    fn of(shape: &ConvShape, i: usize) -> Option<Self> {
        let geometry = &shape.geometry;
        let stride = isize::try_from(geometry.stride[i]).ok()?;
        // With a single tap, the dilation has no effect and can be huge, so it is clamped.
        let [dilation, padding] = [geometry.dilation[i], geometry.padding[i][0]]
            .map(|n| isize::try_from(n.min(MAX_COUNT)).unwrap_or(0));
        let tap = |k: usize| {
            let at = k as isize * dilation - padding;
            (at.rem_euclid(stride).unsigned_abs(), at.div_euclid(stride))
        };
        let taps: Vec<_> = (0..shape.kernel[i]).map(tap).collect();
        let mut phases: Vec<usize> = taps.iter().map(|(phase, _)| *phase).collect();
        phases.sort_unstable();
        phases.dedup();
        let pixels =
            phases.iter().map(|phase| shape.input[i].saturating_sub(*phase).div_ceil(geometry.stride[i]));
        let pixels = pixels.max()?;
        let shifts = || taps.iter().map(|(_, shift)| *shift);
        // Taps that reach beyond a row or an image must read zeros, not the neighboring row or image.
        let before = -shifts().min()?.min(0);
        let after = shifts().max()?.max(0);
        let positions = (pixels + before.unsigned_abs()).max(shape.output[i] + after.unsigned_abs());
        Some(Self { taps, phases, positions, pixels })
    }
}

impl PaddedLayout {
    /// Returns the layout for a convolution, or `None` if the kernel does not support it.
    pub fn of(shape: &ConvShape, kernel: &Hopper) -> Option<Self> {
        let [height, width] = shape.kernel;
        if height * width > MAX_TAPS || shape.group_in_channels() == 0 || shape.output_elements() == 0 {
            return None;
        }
        let [down, across] = [Axis::of(shape, 0)?, Axis::of(shape, 1)?];
        let phases: Vec<[usize; 2]> =
            down.phases.iter().flat_map(|d| across.phases.iter().map(move |a| [*d, *a])).collect();
        let image = down.positions.checked_mul(across.positions)?;
        let elements = shape
            .in_channels
            .max(shape.out_channels)
            .checked_mul(image.max(shape.input[0] * shape.input[1]))?;
        if phases.len() > MAX_PHASES || shape.batch.checked_mul(image)? > MAX_COUNT || elements > MAX_COUNT {
            return None;
        }
        let pitch = across.positions;
        let taps: Vec<([usize; 2], isize)> = down
            .taps
            .iter()
            .flat_map(|(d, y)| across.taps.iter().map(move |(a, x)| ([*d, *a], y * pitch as isize + x)))
            .collect();
        let first = taps.iter().map(|(_, at)| *at).min()?;
        let last = taps.iter().map(|(_, at)| *at).max()?;
        let read_positions = (kernel.positions + (last - first).unsigned_abs()).next_multiple_of(8);
        // The kernel counts the offsets of elements in an `int`, from the start of the image that has the tile's first
        // position. The tile reads this image, at most `read_positions / image + 1` images after it and, with padding,
        // the image before it.
        if elements.checked_mul(read_positions / image + 3)? > MAX_COUNT {
            return None;
        }
        let position = |(phase, at): &([usize; 2], isize)| {
            let phase_index = phases.iter().position(|other| other == phase)?;
            Some(phase_index * read_positions + (at - first).unsigned_abs())
        };
        let [output_height, output_width] = shape.output;
        let positions = (shape.batch - 1) * image + (output_height - 1) * pitch + output_width;
        let run_pixels = if shape.geometry.stride == [1; 2] { run_pixels(shape.input[1]) } else { 1 };
        Some(Self {
            pitch,
            image,
            first,
            read_positions,
            run_pixels,
            runs_per_row: across.pixels.div_ceil(run_pixels),
            rows: (read_positions - 1) / pitch + 2,
            channel_tiles: shape.group_out_channels().div_ceil(Hopper::CHANNELS),
            position_tiles: positions.div_ceil(kernel.positions),
            chunks: shape.group_in_channels().div_ceil(kernel.chunk_channels()),
            taps: taps.iter().map(position).collect::<Option<_>>()?,
            phases,
        })
    }

    /// Returns the number of taps.
    pub fn taps(&self) -> usize {
        self.taps.len()
    }

    /// Returns the structure `PaddedLayout` as a kernel argument.
    pub fn arg(&self) -> Result<Arg> {
        let phase = |i: usize, axis: usize| self.phases.get(i).map_or(0, |phase| phase[axis]);
        let axis = |axis: usize| (0..MAX_PHASES).map(move |i| phase(i, axis));
        let before = [self.pitch, self.image];
        let after = [
            self.run_pixels,
            self.runs_per_row,
            self.rows,
            self.channel_tiles,
            self.position_tiles,
            self.chunks,
        ];
        let mut fields = before.into_iter().map(int).collect::<Result<Vec<_>>>()?;
        fields.push(self.first as i32);
        let rest =
            [self.read_positions, self.phases.len()].into_iter().chain(axis(0)).chain(axis(1)).chain(after);
        fields.extend(rest.map(int).collect::<Result<Vec<_>>>()?);
        Ok(Arg::Ints(fields))
    }

    /// Returns the structure `Taps` as a kernel argument.
    pub fn taps_arg(&self) -> Result<Arg> {
        let mut positions = self.taps.iter().map(|position| int(*position)).collect::<Result<Vec<_>>>()?;
        positions.resize(MAX_TAPS, 0);
        Ok(Arg::Ints(positions))
    }
}

/// Returns the number of pixels in a pixel run: the largest of 4, 2 and 1 that divides the width.
fn run_pixels(width: usize) -> usize {
    [4, 2].into_iter().find(|run| width.is_multiple_of(*run)).unwrap_or(1)
}
