//! The kernels for compute capability 9.0 of `conv_hopper.cuh`, and how they lay the planes of a batch side by side:
//! `planes.cuh` says why.

use super::sizes::int;
use super::tiles::FINISH_PAD;
use crate::conv::ConvShape;
use crate::cuda::Arg;
use candle_core::{DType, Result};

/// A kernel whose tiles are [`Hopper::CHANNELS`] output channels by so many places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hopper {
    /// The stem of the `.cu` file's name.
    pub module: &'static str,
    /// The kernel's name.
    pub kernel: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The places of a tile.
    pub places: usize,
}

/// The constants of the same names in `staged.cuh` and `planes.cuh`.
const COLUMNS: usize = 8;
const WEIGHTS: usize = 3;
const INPUTS: usize = 2;
const LOADERS: usize = 64;
const MOST_PHASES: usize = 4;
const MOST_TAPS: usize = 49;
/// The bytes of a column's pixel, of all barriers and of a `PixelRun`.
const COLUMN: usize = 16;
const BARRIERS: usize = 8 * 2 * (WEIGHTS + INPUTS);
const RUN: usize = 8;
/// Places and elements that an `int` counts, with room for a last tile beyond them.
const MOST: usize = 1 << 30;

macro_rules! hoppers {
    ($($module:literal: $dtype:ident),*) => {
        [$(
            Hopper { module: $module, kernel: concat!($module, "_128"), dtype: DType::$dtype, places: 128 },
            Hopper { module: $module, kernel: concat!($module, "_64"), dtype: DType::$dtype, places: 64 },
        )*]
    };
}

const KERNELS: [Hopper; 6] =
    hoppers!("conv_hopper_tf32": F32, "conv_hopper_f16": F16, "conv_hopper_bf16": BF16);

pub fn hoppers(dtype: DType) -> impl Iterator<Item = Hopper> {
    KERNELS.into_iter().filter(move |kernel| kernel.dtype == dtype)
}

impl Hopper {
    /// Output channels of a block.
    pub const CHANNELS: usize = 128;
    /// Threads of a block.
    pub const THREADS: usize = 256 + LOADERS;
    /// Threads of the kernel that packs the weight.
    pub const PACK_THREADS: usize = 256;

    /// The channels of a chunk.
    fn chunk(&self) -> usize {
        COLUMNS * self.each()
    }

    /// The channels in 16 bytes.
    pub fn each(&self) -> usize {
        COLUMN / self.dtype.size_in_bytes()
    }

    /// Loads of each thread that lays out the input, for one chunk.
    pub fn loads(&self, planes: &Planes) -> usize {
        let runs = planes.phases.len() * planes.rows * planes.runs_across;
        (runs * self.chunk()).div_ceil(LOADERS)
    }

    /// The kernel that packs the weight.
    pub fn pack(&self) -> &'static str {
        match self.dtype {
            DType::F16 => "conv_hopper_pack_f16",
            DType::BF16 => "conv_hopper_pack_bf16",
            _ => "conv_hopper_pack_tf32",
        }
    }

    /// The elements of a packed weight.
    pub fn packed_elements(&self, shape: &ConvShape, planes: &Planes) -> usize {
        let [height, width] = shape.kernel;
        let stages = shape.geometry.groups * planes.channel_tiles * planes.chunks * height * width;
        stages * Self::CHANNELS * self.chunk()
    }

    /// Bytes of shared memory of a block.
    pub fn shared(&self, planes: &Planes) -> usize {
        let weights = WEIGHTS * Self::CHANNELS * COLUMNS * COLUMN;
        let inputs = INPUTS.min(planes.chunks) * planes.phases.len() * planes.reach * COLUMNS * COLUMN;
        let tables = planes.phases.len() * planes.rows * planes.runs_across * RUN + self.places * 4;
        let sums = Self::CHANNELS * (self.places + FINISH_PAD) * 4;
        (BARRIERS + tables).next_multiple_of(128) + (weights + inputs).max(sums)
    }
}

/// The structures `Planes` and `Taps` of `planes.cuh`.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    pitch: usize,
    image: usize,
    first: isize,
    reach: usize,
    phases: Vec<[usize; 2]>,
    run: usize,
    runs_across: usize,
    rows: usize,
    pub channel_tiles: usize,
    pub place_tiles: usize,
    pub chunks: usize,
    taps: Vec<usize>,
}

/// The taps along one axis.
struct Axis {
    /// Of each tap: which remainder by the stride the rows have that it reads, and how many of those it is further.
    taps: Vec<(usize, isize)>,
    /// The remainders that there are.
    phases: Vec<usize>,
    /// The places that an image needs along this axis.
    places: usize,
    /// Those of one phase that are pixels.
    pixels: usize,
}

impl Axis {
    fn of(shape: &ConvShape, i: usize) -> Option<Self> {
        let geometry = &shape.geometry;
        let stride = isize::try_from(geometry.stride[i]).ok()?;
        let [dilation, padding] =
            [geometry.dilation[i], geometry.padding[i][0]].map(|n| isize::try_from(n.min(MOST)).unwrap_or(0));
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
        // What reaches beyond an image on either side has to find zeros, not the image beside it.
        let (before, after) = (-shifts().min()?.min(0), shifts().max()?.max(0));
        let places = (pixels + before.unsigned_abs()).max(shape.output[i] + after.unsigned_abs());
        Some(Self { taps, phases, places, pixels })
    }
}

impl Planes {
    /// None where the kernel cannot take the convolution.
    pub fn of(shape: &ConvShape, kernel: &Hopper) -> Option<Self> {
        let [height, width] = shape.kernel;
        if height * width > MOST_TAPS || shape.group_inputs() == 0 || shape.output_elements() == 0 {
            return None;
        }
        let [down, across] = [Axis::of(shape, 0)?, Axis::of(shape, 1)?];
        let phases: Vec<[usize; 2]> =
            down.phases.iter().flat_map(|d| across.phases.iter().map(move |a| [*d, *a])).collect();
        let image = down.places.checked_mul(across.places)?;
        let elements = shape
            .in_channels
            .max(shape.out_channels)
            .checked_mul(image.max(shape.input[0] * shape.input[1]))?;
        if phases.len() > MOST_PHASES || shape.batch.checked_mul(image)? > MOST || elements > MOST {
            return None;
        }
        let pitch = across.places;
        let taps: Vec<([usize; 2], isize)> = down
            .taps
            .iter()
            .flat_map(|(d, y)| across.taps.iter().map(move |(a, x)| ([*d, *a], y * pitch as isize + x)))
            .collect();
        let first = taps.iter().map(|(_, at)| *at).min()?;
        let last = taps.iter().map(|(_, at)| *at).max()?;
        let reach = (kernel.places + (last - first).unsigned_abs()).next_multiple_of(8);
        // All images that a tile meets are counted by one `int`.
        if elements.checked_mul(reach / image + 3)? > MOST {
            return None;
        }
        let place = |(phase, at): &([usize; 2], isize)| {
            let number = phases.iter().position(|one| one == phase)?;
            Some(number * reach + (at - first).unsigned_abs())
        };
        let [output_height, output_width] = shape.output;
        let places = (shape.batch - 1) * image + (output_height - 1) * pitch + output_width;
        let run = if shape.geometry.stride == [1; 2] { run_of(shape.input[1]) } else { 1 };
        Some(Self {
            pitch,
            image,
            first,
            reach,
            run,
            runs_across: across.pixels.div_ceil(run),
            rows: (reach - 1) / pitch + 2,
            channel_tiles: shape.group_outputs().div_ceil(Hopper::CHANNELS),
            place_tiles: places.div_ceil(kernel.places),
            chunks: shape.group_inputs().div_ceil(kernel.chunk()),
            taps: taps.iter().map(place).collect::<Option<_>>()?,
            phases,
        })
    }

    pub fn taps(&self) -> usize {
        self.taps.len()
    }

    /// The structure `Planes`.
    pub fn arg(&self) -> Result<Arg> {
        let phase = |i: usize, axis: usize| self.phases.get(i).map_or(0, |phase| phase[axis]);
        let axis = |axis: usize| (0..MOST_PHASES).map(move |i| phase(i, axis));
        let before = [self.pitch, self.image];
        let after =
            [self.run, self.runs_across, self.rows, self.channel_tiles, self.place_tiles, self.chunks];
        let mut fields = before.into_iter().map(int).collect::<Result<Vec<_>>>()?;
        fields.push(self.first as i32);
        let rest = [self.reach, self.phases.len()].into_iter().chain(axis(0)).chain(axis(1)).chain(after);
        fields.extend(rest.map(int).collect::<Result<Vec<_>>>()?);
        Ok(Arg::Ints(fields))
    }

    /// The structure `Taps`.
    pub fn taps_arg(&self) -> Result<Arg> {
        let mut places = self.taps.iter().map(|place| int(*place)).collect::<Result<Vec<_>>>()?;
        places.resize(MOST_TAPS, 0);
        Ok(Arg::Ints(places))
    }
}

/// The most neighbouring pixels that are loaded together.
fn run_of(width: usize) -> usize {
    [4, 2].into_iter().find(|run| width.is_multiple_of(*run)).unwrap_or(1)
}
