//! The plan of a register-tile kernel for one problem: the grouping of channels, the offsets of the kernel's taps, and
//! the partition of the output into tasks.

use std::ops::Range;

use crate::conv::{ConvGeometry, ConvShape};
use crate::parallel::cost;
use crate::simd::{self, Isa, Kernel, Simd};

use super::fused_consumer::Windows;
use super::operand_format::OperandFormat;
use super::partition::{LaneAxis, Limits, Order, Partition, PartitionProblem, TaskRegion};
use super::tile::{InputTile, InputTileSize, Tap};
use super::{channel_lanes, pixel_lanes};

/// The overhead of an output element, in multiply-adds.
const OVERHEAD: usize = 16;

/// The shape of a kernel's register tile: output channels × pixels. The lanes are along one of the two axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegisterTileShape {
    pub channels: usize,
    pub pixels: usize,
    pub lanes: usize,
}

impl RegisterTileShape {
    /// Returns the shape of the register tile of the kernel whose lanes are along `axis`.
    pub fn of(axis: LaneAxis, isa: Isa) -> Self {
        simd::dispatch_to(isa, ShapeQuery(axis))
    }
}

/// A [`Kernel`] that only returns the shape of the register tile of its instruction set.
struct ShapeQuery(LaneAxis);

impl Kernel for ShapeQuery {
    type Output = RegisterTileShape;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> RegisterTileShape {
        match self.0 {
            LaneAxis::Pixels => pixel_lanes::register_tile_shape::<S>(),
            LaneAxis::Channels => channel_lanes::register_tile_shape::<S>(),
        }
    }
}

/// The input channels of a group, divided into chunks. Sums stay in registers within a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    in_channels: usize,
    chunk_channels: usize,
}

impl Chunks {
    /// Divides `in_channels` channels into chunks of whole blocks. A block has `block` channels. A chunk has at most
    /// `max_channels` channels, but at least one block.
    pub fn new(in_channels: usize, block: usize, max_channels: usize) -> Self {
        let blocks = in_channels.div_ceil(block).max(1);
        let count = blocks.div_ceil((max_channels / block).max(1));
        Self { in_channels, chunk_channels: blocks.div_ceil(count) * block }
    }

    pub fn count(&self) -> usize {
        self.in_channels.div_ceil(self.chunk_channels).max(1)
    }

    /// Returns the number of channels of the largest chunk, including the padding of its last block.
    pub fn chunk_channels(&self) -> usize {
        self.chunk_channels
    }

    /// Returns the channels of a chunk.
    pub fn range(&self, index: usize) -> Range<usize> {
        let first = index * self.chunk_channels;
        first..self.in_channels.min(first + self.chunk_channels)
    }
}

/// The output channels of a group, divided into blocks. A register tile computes the channels of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputBlocks {
    out_channels: usize,
    /// The number of channels of a block, including padding.
    pub block_channels: usize,
    /// The number of channels of a narrower last block, or zero if there is none.
    last_channels: usize,
}

impl OutputBlocks {
    /// Divides `out_channels` channels into blocks of `block_channels`. If fewer channels remain for the last block,
    /// `narrower` maps their number to the number of channels of this block, including padding.
    pub fn new(out_channels: usize, block_channels: usize, narrower: impl Fn(usize) -> usize) -> Self {
        let rest = out_channels % block_channels;
        let last_channels = if rest == 0 { 0 } else { narrower(rest).min(block_channels) };
        Self { out_channels, block_channels, last_channels }
    }

    pub fn count(&self) -> usize {
        self.out_channels.div_ceil(self.block_channels)
    }

    /// Returns the number of channels of all blocks, including padding.
    pub fn padded_channels(&self) -> usize {
        self.out_channels / self.block_channels * self.block_channels + self.last_channels
    }

    /// Returns the number of channels, including padding, of the block that starts with the channel `first`.
    pub fn width(&self, first: usize) -> usize {
        self.block_channels.min(self.padded_channels() - first)
    }

    /// Returns the channels of the block that starts with the channel `first`, excluding padding.
    pub fn unpadded(&self, first: usize) -> Range<usize> {
        first..self.out_channels.min(first + self.block_channels)
    }
}

/// The options from which a plan is made.
pub(super) struct PlanOptions {
    pub lane_axis: LaneAxis,
    pub register_tile: RegisterTileShape,
    pub operand: OperandFormat,
    /// The number of channels of a block of the input: 1 for `Nchw`, a vector's lanes for `Nchwc`.
    pub input_block: usize,
    /// Whether to read the pixels of a pointwise convolution from the input, without an input tile.
    pub in_place: bool,
    /// See [`InputTileSize::column_planes`].
    pub column_planes: bool,
    /// The maximum number of input channels of a chunk.
    pub max_chunk_channels: usize,
    pub output_blocks: OutputBlocks,
    pub limits: Limits,
    /// The windows of the fused consumer, if there is one.
    pub windows: Option<Windows>,
    pub order: Order,
}

/// The counts that the cost model multiplies by costs.
pub(super) struct Counts {
    /// The number of output channels of a group, including the padding of blocks.
    pub out_channels: usize,
    /// The number of chunks of a group's input channels.
    pub chunks: usize,
    /// The number of floats that all tasks together copy into input tiles for one input channel of one image.
    pub copied: usize,
}

impl PlanOptions {
    /// Returns `shape` with one input channel for each 32-bit word of the operand format: a pair of bf16 channels
    /// counts as one. The images of a pointwise convolution are flattened to one row, unless a kernel with lanes over
    /// channels copies them to input tiles.
    fn shape(&self, shape: &ConvShape) -> ConvShape {
        let flat = is_pointwise(shape) && (self.in_place || self.lane_axis == LaneAxis::Pixels);
        self.operand.shape_in_words(&if flat { flattened(shape) } else { *shape })
    }

    fn chunks(&self, shape: &ConvShape) -> Chunks {
        Chunks::new(shape.group_in_channels(), self.input_block, self.max_chunk_channels)
    }

    /// Returns the possible sizes of the input tile. With dilation, each row of the kernel can have its own rows.
    fn tile_sizes(&self, shape: &ConvShape) -> impl Iterator<Item = InputTileSize> {
        let kernel_rows = [false, true].into_iter().take(shape.geometry.dilation[0].min(2));
        kernel_rows.map(|kernel_rows| {
            let separate = [kernel_rows, self.column_planes];
            InputTileSize::new(shape, self.input_block, separate, self.column_multiple())
        })
    }

    /// Returns the number that divides the width of every patch, except for patches at the end of a row.
    pub fn column_multiple(&self) -> usize {
        if self.lane_axis == LaneAxis::Pixels { self.register_tile.lanes } else { 1 }
    }

    /// Returns the counts for a partition in which each task computes all pixels of an image in one segment (a range of
    /// output channels).
    pub fn counts(&self, shape: &ConvShape) -> Counts {
        let shape = self.shape(shape);
        let copied = if self.in_place {
            0
        } else {
            let copied = self.tile_sizes(&shape).map(|size| {
                let pitch = size.pitch(shape.output[1]).max(1);
                let pixels = size.floats(shape.output, self.input_block) / self.input_block;
                let rows = pixels / pitch;
                // With lanes over pixels, a row is copied in whole vectors.
                rows.saturating_mul(pitch.next_multiple_of(size.column_multiple))
            });
            copied.min().unwrap_or(0).saturating_mul(self.limits.min_segments)
        };
        Counts {
            out_channels: self.output_blocks.padded_channels(),
            chunks: self.chunks(&shape).count(),
            copied,
        }
    }
}

/// The plan for one problem. The number of threads affects the sizes of the tasks, but never the order of the additions
/// in a sum. Results therefore do not depend on the number of threads.
pub(super) struct Plan {
    /// The shape that [`PlanOptions::shape`] returns.
    pub shape: ConvShape,
    pub operand: OperandFormat,
    /// The number of input channels of a group in the input. For pairs of bf16, `shape` counts pairs of channels
    /// instead.
    pub group_in_channels: usize,
    pub input_block: usize,
    pub chunks: Chunks,
    pub output_blocks: OutputBlocks,
    /// `None` if the input is read in place.
    pub input_tile: Option<InputTile>,
    /// The taps of each chunk of input channels.
    pub taps: Vec<Vec<Tap>>,
    pub partition: Partition,
    task_groups: usize,
}

impl Plan {
    /// Returns `None` if the input tile would be too large or an offset does not fit in a `u32`.
    pub fn new(shape: &ConvShape, options: &PlanOptions, threads: usize) -> Option<Self> {
        let PlanOptions { operand, input_block, in_place, output_blocks, .. } = *options;
        let group_in_channels = shape.group_in_channels();
        let shape = options.shape(shape);
        let chunks = options.chunks(&shape);
        let work = shape.output_elements().saturating_mul(shape.depth() + OVERHEAD);
        let threads = cost::worthwhile_threads(threads, work);
        let partition = |input_tile: Option<&InputTileSize>| {
            Partition::new(&PartitionProblem { shape: &shape, options, chunks, input_tile }, threads)
        };
        let (partition, input_tile) = if in_place {
            (partition(None), None)
        } else {
            let sizes = options.tile_sizes(&shape).map(|size| (partition(Some(&size)), size));
            let (partition, size) = sizes.min_by_key(|(partition, _)| partition.time)?;
            let tile = InputTile::new(size, partition.largest_patch(), chunks.chunk_channels())?;
            (partition, Some(tile))
        };
        let taps = (0..chunks.count()).map(|chunk| match &input_tile {
            Some(tile) => tile.taps(&shape, chunks.range(chunk)),
            None => in_place_taps(&shape, chunks.range(chunk), input_block),
        });
        let taps = taps.collect::<Option<_>>()?;
        let task_groups = (work / cost::MIN_TASK_GROUP_MULTIPLY_ADDS)
            .clamp(1, 4 * threads)
            .next_multiple_of(threads)
            .min(partition.tasks());
        Some(Self {
            shape,
            operand,
            group_in_channels,
            input_block,
            chunks,
            output_blocks,
            input_tile,
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
    pub fn tasks(&self, task_group: usize) -> impl Iterator<Item = TaskRegion<'_>> {
        let bound = |group: usize| group * self.partition.tasks() / self.task_groups;
        (bound(task_group)..bound(task_group + 1)).map(|task| self.partition.region(task))
    }

    /// Returns the number of floats of the input tile for one chunk, or 0 if there is no input tile.
    pub fn tile_floats(&self) -> usize {
        self.input_tile.as_ref().map_or(0, |tile| tile.floats(self.chunks.chunk_channels()))
    }

    /// Returns the number of taps of the kernel for one input channel.
    pub fn kernel_taps(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// Returns the offset in the packed weight at which the weights of a group, a chunk and a block of output channels
    /// start. The block starts with the channel `output_channel` of the group.
    pub fn weight_offset(&self, group: usize, chunk: usize, output_channel: usize) -> usize {
        let in_channels = self.chunks.range(chunk);
        let before = self.output_blocks.padded_channels()
            * (group * self.shape.group_in_channels() + in_channels.start);
        (before + output_channel * in_channels.len()) * self.kernel_taps()
    }

    /// Returns the number of floats of the packed weight.
    pub fn packed_weight_len(&self) -> usize {
        self.output_blocks.padded_channels() * self.shape.depth() * self.shape.geometry.groups
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

/// Returns the taps of a pointwise convolution that reads the input in place, or `None` if an offset does not fit in a
/// `u32`.
fn in_place_taps(shape: &ConvShape, channels: Range<usize>, block: usize) -> Option<Vec<Tap>> {
    let plane = shape.input[0] * shape.input[1] * block;
    let tap = |(index, first): (usize, usize)| {
        let offset = u32::try_from(index.checked_mul(plane)?).ok()?;
        Some(Tap { offset, channels: block.min(channels.end - first) as u32 })
    };
    channels.clone().step_by(block).enumerate().map(tap).collect()
}
