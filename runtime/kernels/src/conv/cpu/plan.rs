//! The plan of a register-tile kernel for one problem: the grouping of channels, the offsets of the kernel's taps, and
//! the partition of the output into tasks.

use std::ops::Range;

use crate::conv::{ConvGeometry, ConvShape};
use crate::parallel::cost;
use crate::simd::{self, Isa, Kernel, Simd};

use super::fused_consumer::Windows;
use super::operand_format::OperandFormat;
use super::partition::{Lanes, Limits, Order, Partition, PartitionProblem, Place};
use super::tile::{Tap, Tile, TileSize};
use super::{channel_lanes, pixel_lanes};

/// The overhead of an output element, as a number of multiplications.
const OVERHEAD: usize = 16;

/// The shape of a kernel's register tile: output channels × pixels. The lanes are along one of the two axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileShape {
    pub channels: usize,
    pub pixels: usize,
    pub lanes: usize,
}

impl TileShape {
    pub fn of(lanes: Lanes, isa: Isa) -> Self {
        simd::dispatch_to(isa, TileShapeOf(lanes))
    }
}

/// Returns the register tile of an instruction set.
struct TileShapeOf(Lanes);

impl Kernel for TileShapeOf {
    type Output = TileShape;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> TileShape {
        match self.0 {
            Lanes::Pixels => pixel_lanes::tile_shape::<S>(),
            Lanes::Channels => channel_lanes::tile_shape::<S>(),
        }
    }
}

/// The input channels of a group, divided into chunks. Sums stay in registers within a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    in_channels: usize,
    len: usize,
}

impl Chunks {
    /// Divides `in_channels` channels into chunks of at most `most` channels, each a multiple of `block`.
    pub fn new(in_channels: usize, block: usize, most: usize) -> Self {
        let blocks = in_channels.div_ceil(block).max(1);
        let count = blocks.div_ceil((most / block).max(1));
        Self { in_channels, len: blocks.div_ceil(count) * block }
    }

    pub fn count(&self) -> usize {
        self.in_channels.div_ceil(self.len).max(1)
    }

    /// Returns the number of channels of the largest chunk, including the padding of its last block.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn range(&self, index: usize) -> Range<usize> {
        let first = index * self.len;
        first..self.in_channels.min(first + self.len)
    }
}

/// The output channels of a group, divided into blocks. A register tile computes the channels of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputBlocks {
    out_channels: usize,
    /// The number of channels of a block, including padding.
    pub block: usize,
    /// The number of channels of a narrower last block, or zero if there is none.
    last: usize,
}

impl OutputBlocks {
    /// Divides `out_channels` channels into blocks of `block`. `narrower` returns the width of the last block for the
    /// number of remaining channels.
    pub fn new(out_channels: usize, block: usize, narrower: impl Fn(usize) -> usize) -> Self {
        let rest = out_channels % block;
        Self { out_channels, block, last: if rest == 0 { 0 } else { narrower(rest).min(block) } }
    }

    pub fn count(&self) -> usize {
        self.out_channels.div_ceil(self.block)
    }

    /// Returns the number of channels of all blocks, including padding.
    pub fn padded(&self) -> usize {
        self.out_channels / self.block * self.block + self.last
    }

    /// Returns the number of channels, including padding, of the block that starts with the channel `first`.
    pub fn width(&self, first: usize) -> usize {
        self.block.min(self.padded() - first)
    }

    /// Returns the channels of the block that starts with `first`, excluding padding.
    pub fn existing(&self, first: usize) -> Range<usize> {
        first..self.out_channels.min(first + self.block)
    }
}

/// The options from which the plan of a kernel for one problem is made.
pub(super) struct PlanOptions {
    pub direction: Lanes,
    pub registers: TileShape,
    pub operand: OperandFormat,
    /// The number of channels of a block of the input: 1, or a vector's lanes.
    pub input_block: usize,
    /// Whether to read a pointwise convolution's pixels from the input, without a tile.
    pub in_place: bool,
    pub column_planes: bool,
    /// The maximum number of input channels of a chunk.
    pub chunk: usize,
    pub blocks: OutputBlocks,
    pub limits: Limits,
    pub windows: Option<Windows>,
    pub order: Order,
}

/// The counts that the cost model multiplies by costs.
pub(super) struct Counts {
    /// The output channels of a group, including the padding of blocks.
    pub out_channels: usize,
    pub chunks: usize,
    /// The number of floats that all tasks together copy into tiles for each input channel.
    pub copied: usize,
}

impl PlanOptions {
    /// Returns the shape, with one input channel for each word of the operand format. The images of a pointwise
    /// convolution are flattened to one row, unless a kernel with lanes over channels copies them to tiles.
    fn shape(&self, shape: &ConvShape) -> ConvShape {
        let flat = is_pointwise(shape) && (self.in_place || self.direction == Lanes::Pixels);
        self.operand.shape(&if flat { flattened(shape) } else { *shape })
    }

    fn chunks(&self, shape: &ConvShape) -> Chunks {
        Chunks::new(shape.group_in_channels(), self.input_block, self.chunk)
    }

    fn tile_size(&self, shape: &ConvShape) -> TileSize {
        TileSize::new(shape, self.input_block, self.column_planes, self.column_unit())
    }

    /// Returns the unit of a patch's width: the number of columns is a multiple of it, unless the patch ends with the
    /// row.
    pub fn column_unit(&self) -> usize {
        if self.direction == Lanes::Pixels { self.registers.lanes } else { 1 }
    }

    /// Returns the counts for a division into one task per segment of output channels. Each task computes all pixels.
    pub fn counts(&self, shape: &ConvShape) -> Counts {
        let shape = self.shape(shape);
        let copied = if self.in_place {
            0
        } else {
            let size = self.tile_size(&shape);
            // With lanes over pixels, whole vectors are copied.
            let unit = size.unit;
            let pitch = size.pitch(shape.output[1]).max(1);
            let floats = size.floats(shape.output, self.input_block) / self.input_block;
            (floats / pitch).saturating_mul(pitch.next_multiple_of(unit)).saturating_mul(self.limits.segments)
        };
        Counts { out_channels: self.blocks.padded(), chunks: self.chunks(&shape).count(), copied }
    }
}

/// The plan for one problem. The number of threads affects the size of the tasks, but never the order of the additions
/// in a sum, so results do not depend on it.
pub(super) struct Plan {
    /// The shape that [`PlanOptions::shape`] returns.
    pub shape: ConvShape,
    pub operand: OperandFormat,
    /// The number of input channels of a group in the input. For pairs of bf16, `shape` counts pairs of channels
    /// instead.
    pub group_in_channels: usize,
    pub input_block: usize,
    pub chunks: Chunks,
    pub blocks: OutputBlocks,
    /// `None` if the input is read in place.
    pub tile: Option<Tile>,
    /// The taps of each chunk of input channels.
    pub taps: Vec<Vec<Tap>>,
    pub partition: Partition,
    task_groups: usize,
}

impl Plan {
    /// Returns `None` if the input tile would be too large or an offset does not fit in a `u32`.
    pub fn new(shape: &ConvShape, options: &PlanOptions, threads: usize) -> Option<Self> {
        let PlanOptions { operand, input_block, in_place, blocks, .. } = *options;
        let group_in_channels = shape.group_in_channels();
        let shape = options.shape(shape);
        let chunks = options.chunks(&shape);
        let size = options.tile_size(&shape);
        let work = shape.output_elements().saturating_mul(shape.depth() + OVERHEAD);
        let threads = cost::worthwhile_threads(threads, work);
        let tile = (!in_place).then_some(&size);
        let partition = Partition::new(&PartitionProblem { shape: &shape, options, chunks, tile }, threads);
        let tile =
            if in_place { None } else { Some(Tile::new(size, partition.largest_patch(), chunks.len())?) };
        let taps = (0..chunks.count()).map(|chunk| match &tile {
            Some(tile) => tile.taps(&shape, chunks.range(chunk)),
            None => in_place_taps(&shape, chunks.range(chunk), input_block),
        });
        let taps = taps.collect::<Option<_>>()?;
        let task_groups = (work / cost::TASK_GROUP_MULTIPLY_ADDS)
            .clamp(1, 4 * threads)
            .next_multiple_of(threads)
            .min(partition.tasks());
        Some(Self {
            shape,
            operand,
            group_in_channels,
            input_block,
            chunks,
            blocks,
            tile,
            taps,
            partition,
            task_groups,
        })
    }

    /// Returns the number of task groups. One thread runs all tasks of a group.
    pub fn task_groups(&self) -> usize {
        self.task_groups
    }

    /// Returns the tasks of a task group.
    pub fn tasks(&self, task_group: usize) -> impl Iterator<Item = Place<'_>> {
        let bound = |group: usize| group * self.partition.tasks() / self.task_groups;
        (bound(task_group)..bound(task_group + 1)).map(|task| self.partition.place(task))
    }

    /// Returns the number of floats of a tile with the channels of a chunk, or 0 if there is no tile.
    pub fn tile_floats(&self) -> usize {
        self.tile.as_ref().map_or(0, |tile| tile.len(self.chunks.len()))
    }

    pub fn kernel_taps(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// Returns the offset of a block of output channels in the packed weight.
    pub fn weights_at(&self, group: usize, chunk: usize, output: usize) -> usize {
        let in_channels = self.chunks.range(chunk);
        let before = self.blocks.padded() * (group * self.shape.group_in_channels() + in_channels.start);
        (before + output * in_channels.len()) * self.kernel_taps()
    }

    pub fn weights_len(&self) -> usize {
        self.blocks.padded() * self.shape.depth() * self.shape.geometry.groups
    }
}

/// Returns `true` if each output pixel reads only the input pixel at the same place.
pub(super) fn is_pointwise(shape: &ConvShape) -> bool {
    let ConvGeometry { stride, padding, .. } = shape.geometry;
    shape.kernel == [1; 2] && stride == [1; 2] && padding == [[0; 2]; 2]
}

/// Returns a pointwise convolution with each image flattened to one row.
fn flattened(shape: &ConvShape) -> ConvShape {
    let pixels = [1, shape.input[0] * shape.input[1]];
    ConvShape { input: pixels, output: pixels, ..*shape }
}

fn in_place_taps(shape: &ConvShape, channels: Range<usize>, block: usize) -> Option<Vec<Tap>> {
    let plane = shape.input[0] * shape.input[1] * block;
    let tap = |(index, first): (usize, usize)| {
        let offset = u32::try_from(index.checked_mul(plane)?).ok()?;
        Some(Tap { offset, channels: block.min(channels.end - first) as u32 })
    };
    channels.clone().step_by(block).enumerate().map(tap).collect()
}
