//! The partition of a convolution into tasks: patches of output pixels × segments of output channels.
//!
//! A *segment* is a range of blocks of output channels ([`OutputBlocks`]). With a fused consumer, the patches are
//! *bands*: the rows of the producer's results from which some rows of the consumer's results are computed.
//!
//! [`Partition::new`] considers partitions whose tasks fit in the caches, and chooses the one with the shortest
//! estimated time on the given number of threads. Times and costs are in cycles.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::memory::CACHE_LINE_FLOATS;

use super::fused_consumer::Windows;
use super::plan::{Chunks, OutputBlocks, PlanOptions};
use super::tile::InputTileSize;

/// The overhead of a task.
const TASK_COST: usize = 2000;
/// The number of vectors of multiply-adds that a core completes per cycle.
const VECTORS_PER_CYCLE: usize = 2;
/// The cost of a vector that is copied or stored.
const COPY_COST: usize = 3;
/// The cost of reading a cache line of weights.
const LINE_COST: usize = 2;
/// The surcharge for a vector that another core has written or will read.
const REMOTE_COST: usize = 25;
/// The number of independent sums that hide the latency of a multiply-add.
const MIN_SUMS: usize = 8;

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
    /// The rows of the fused consumer's results that are computed from the patch.
    pub consumer_rows: Range<usize>,
}

/// The part of the output that a task computes.
pub(super) struct TaskRegion<'a> {
    pub image: usize,
    pub group: usize,
    pub patch: &'a Patch,
    /// The index of the patch in [`Partition::patches`].
    pub patch_index: usize,
    /// A segment of the group's output channels, including the padding of the last block.
    pub channels: Range<usize>,
}

/// The tasks of a convolution.
pub(super) struct Partition {
    pub patches: Vec<Patch>,
    segments: usize,
    groups: usize,
    batch: usize,
    output_blocks: OutputBlocks,
    order: Order,
    /// The estimated number of cycles.
    pub time: usize,
}

/// The order in which tasks are numbered: the coordinate that changes fastest comes first in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Neighboring tasks share their weights.
    PatchSegmentImage,
    /// Neighboring tasks, including those of different images, share their weights.
    PatchImageSegment,
    /// Neighboring tasks share their pixels, so that a thread reads the pixels that it wrote in the previous layer.
    SegmentPatchImage,
}

/// The axis of a register tile along which its lanes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneAxis {
    Pixels,
    Channels,
}

/// Everything that the choice of a partition depends on.
pub(super) struct PartitionProblem<'a> {
    pub shape: &'a ConvShape,
    pub options: &'a PlanOptions,
    pub chunks: Chunks,
    /// The size of the input tile, or `None` if tasks read the input in place.
    pub input_tile: Option<&'a InputTileSize>,
}

/// The limits of a partition.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The maximum number of floats of the input that a task reads for one chunk of channels.
    pub input: usize,
    /// The maximum number of floats that a task keeps: sums between chunks of input channels, or results for a fused
    /// consumer.
    pub sums: usize,
    /// The minimum number of segments.
    pub min_segments: usize,
}

/// The numbers of pieces into which a partition divides the output.
#[derive(Clone, Copy, Debug)]
struct PieceCounts {
    /// The numbers of pieces of the rows and of the columns. With a fused consumer, the rows are rows of its results.
    patches: [usize; 2],
    /// The number of pieces of the output channels.
    segments: usize,
}

impl Partition {
    /// Returns the partition with the shortest estimated time on `threads` threads.
    pub fn new(problem: &PartitionProblem<'_>, threads: usize) -> Self {
        let options = problem.options;
        let pieces = problem.best(threads);
        let time = problem.time(&pieces, threads);
        let ConvShape { batch, geometry, .. } = *problem.shape;
        let patches = match &options.windows {
            Some(windows) => bands(problem.shape, windows, pieces.patches[0]),
            None => patches(problem.shape, pieces.patches, options.column_multiple()),
        };
        Self {
            patches,
            segments: pieces.segments,
            groups: geometry.groups,
            batch,
            output_blocks: options.output_blocks,
            order: options.order,
            time,
        }
    }

    /// Returns the number of tasks.
    pub fn tasks(&self) -> usize {
        self.batch * self.groups * self.patches.len() * self.segments
    }

    /// Returns the rows and columns of the largest patch.
    pub fn largest_patch(&self) -> [usize; 2] {
        let largest = |size: fn(&Patch) -> usize| self.patches.iter().map(size).max().unwrap_or(0);
        [largest(|patch| patch.rows), largest(|patch| patch.columns)]
    }

    /// Returns the maximum number of output channels of a task.
    pub fn segment_channels(&self) -> usize {
        self.output_blocks.count().div_ceil(self.segments) * self.output_blocks.block_channels
    }

    /// Returns the part of the output that the task `index` computes.
    pub fn region(&self, index: usize) -> TaskRegion<'_> {
        let (patches, image_groups) = (self.patches.len(), self.batch * self.groups);
        let [patch_index, segment, image_group] = match self.order {
            Order::PatchSegmentImage => {
                [index % patches, index / patches % self.segments, index / patches / self.segments]
            }
            Order::PatchImageSegment => {
                [index % patches, index / patches / image_groups, index / patches % image_groups]
            }
            Order::SegmentPatchImage => {
                [index / self.segments % patches, index % self.segments, index / self.segments / patches]
            }
        };
        let bound = |segment: usize| {
            segment * self.output_blocks.count() / self.segments * self.output_blocks.block_channels
        };
        TaskRegion {
            image: image_group / self.groups,
            group: image_group % self.groups,
            patch: &self.patches[patch_index],
            patch_index,
            channels: bound(segment)..bound(segment + 1).min(self.output_blocks.padded_channels()),
        }
    }
}

impl PartitionProblem<'_> {
    /// Returns the piece counts with the shortest time.
    fn best(&self, threads: usize) -> PieceCounts {
        let fewest = self.fewest_patches();
        let (axis, max_patches) = self.divisible_axis();
        let max_columns = self.shape.output[1].div_ceil(self.options.column_multiple());
        let patch_counts = (0..4 * threads).map(|more| {
            let mut patches = fewest;
            let count = patches[axis] + more;
            patches[axis] = count.min(max_patches);
            if axis == 0 && self.options.windows.is_none() {
                // If each row is a patch already, divide the columns too.
                patches[1] = count.div_ceil(max_patches).clamp(fewest[1], max_columns.max(fewest[1]));
            }
            patches
        });
        let min_segments = self.options.limits.min_segments.min(self.options.output_blocks.count()).max(1);
        let blocks = self.options.output_blocks.count();
        let segments = min_segments..=blocks.min(min_segments * 4 * threads).max(min_segments);
        // Several counts can have the same largest segment. Try only the smallest of these counts.
        let segments = segments
            .filter(|count| *count == min_segments || *count == blocks.div_ceil(blocks.div_ceil(*count)));
        let candidates = patch_counts
            .flat_map(|patches| segments.clone().map(move |segments| PieceCounts { patches, segments }));
        // Prefer partitions with a task for every thread. Among these, choose the one with the shortest time.
        let key = |pieces: &PieceCounts| (self.tasks(pieces) < threads, self.time(pieces, threads));
        candidates.min_by_key(key).unwrap_or(PieceCounts { patches: fewest, segments: min_segments })
    }

    /// Returns the axis that is divided first, rows (0) or, if the output has a single row, columns (1), and the
    /// maximum number of patches along this axis.
    fn divisible_axis(&self) -> (usize, usize) {
        match (&self.options.windows, self.shape.output) {
            (Some(windows), _) => (0, windows.rows),
            (None, [1, width]) => (1, width.div_ceil(self.options.column_multiple())),
            (None, [height, _]) => (0, height),
        }
    }

    /// Returns the smallest numbers of patches along the two axes for which a task's input and sums fit in the caches.
    fn fewest_patches(&self) -> [usize; 2] {
        let fits = |patches: [usize; 2]| {
            self.input_floats(patches) <= self.options.limits.input
                && self.sum_floats(patches) <= self.options.limits.sums
        };
        if let Some(windows) = &self.options.windows {
            return [smallest(windows.rows, |bands| fits([bands, 1])), 1];
        }
        let [height, width] = self.shape.output;
        let max_columns = width.div_ceil(self.options.column_multiple());
        match smallest(height, |rows| fits([rows, 1])) {
            rows if max_columns == 1 || fits([rows, 1]) => [rows, 1],
            rows => [rows, smallest(max_columns, |columns| fits([rows, columns]))],
        }
    }

    /// Returns the `[rows, columns]` of the largest patch, for `patches[0] × patches[1]` patches.
    fn max_patch(&self, patches: [usize; 2]) -> [usize; 2] {
        if let Some(windows) = &self.options.windows {
            let (rows, width) = (windows.max_rows(windows.rows.div_ceil(patches[0])), windows.size[1]);
            // The rows of a flattened shape lie side by side in a single row.
            return if self.shape.output == windows.size { [rows, width] } else { [1, rows * width] };
        }
        let [height, width] = self.shape.output;
        let columns = width.div_ceil(patches[1]).next_multiple_of(self.options.column_multiple()).min(width);
        [height.div_ceil(patches[0]), columns]
    }

    /// Returns the number of floats of a task's input that have to stay in the cache while it adds one chunk of
    /// channels.
    fn input_floats(&self, patches: [usize; 2]) -> usize {
        let [rows, columns] = self.max_patch(patches);
        match &self.input_tile {
            Some(tile) => tile.floats([rows, columns], self.chunks.chunk_channels()),
            // With lanes over pixels, only the pixels of one register tile have to stay in the cache.
            None if self.options.lane_axis == LaneAxis::Pixels => 0,
            None => rows * columns * self.chunks.chunk_channels(),
        }
    }

    /// Returns the number of floats of a task's sums or results that have to stay in the cache.
    fn sum_floats(&self, patches: [usize; 2]) -> usize {
        let channels = match (&self.options.windows, self.options.lane_axis) {
            (Some(_), _) => self.options.output_blocks.block_channels,
            (None, LaneAxis::Pixels) if self.chunks.count() > 1 => {
                self.options.output_blocks.count().div_ceil(self.options.limits.min_segments)
                    * self.options.output_blocks.block_channels
            }
            (None, _) => 0,
        };
        let [rows, columns] = self.max_patch(patches);
        (rows * columns).saturating_mul(channels)
    }

    /// Returns the number of tasks.
    fn tasks(&self, pieces: &PieceCounts) -> usize {
        let image_groups = self.shape.batch * self.shape.geometry.groups;
        image_groups.max(1) * pieces.patches[0] * pieces.patches[1] * pieces.segments
    }

    /// Returns the number of cycles in which `threads` threads complete all tasks.
    fn time(&self, pieces: &PieceCounts, threads: usize) -> usize {
        let rounds = self.tasks(pieces).div_ceil(threads);
        rounds.saturating_mul(
            self.cycles(pieces)
                .saturating_add(self.remote_vectors(pieces, threads).saturating_mul(REMOTE_COST)),
        )
    }

    /// Estimates the number of vectors of the largest task that another core wrote in the previous layer or will read
    /// in the next layer. Assumes that each thread has the same pixels in those two layers.
    fn remote_vectors(&self, pieces: &PieceCounts, threads: usize) -> usize {
        let each_thread_keeps_its_pixels =
            (self.shape.batch * pieces.patches[0] * pieces.patches[1]).is_multiple_of(threads);
        if each_thread_keeps_its_pixels || self.options.lane_axis == LaneAxis::Pixels {
            return 0;
        }
        let moved = self.copied_vectors(pieces.patches).saturating_add(self.stored_vectors(pieces));
        moved.saturating_mul(threads - 1) / threads
    }

    /// Returns the number of cycles of the largest task.
    fn cycles(&self, pieces: &PieceCounts) -> usize {
        let channels = self.segment_channels(pieces);
        let products = self.register_vectors(pieces.patches, channels).saturating_mul(self.shape.depth())
            / VECTORS_PER_CYCLE;
        let copied = if self.input_tile.is_some() { self.copied_vectors(pieces.patches) } else { 0 };
        let moved = copied
            .saturating_add(self.stored_vectors(pieces) * self.chunks.count())
            .saturating_mul(COPY_COST);
        let lines =
            channels.saturating_mul(self.shape.depth()).div_ceil(CACHE_LINE_FLOATS).saturating_mul(LINE_COST);
        products.saturating_add(moved).saturating_add(lines).saturating_add(TASK_COST)
    }

    /// Returns the number of output channels of the largest segment.
    fn segment_channels(&self, pieces: &PieceCounts) -> usize {
        self.options.output_blocks.count().div_ceil(pieces.segments)
            * self.options.output_blocks.block_channels
    }

    /// Returns the number of vectors of multiply-adds that one tap of one input channel needs, for the largest patch
    /// and `channels` output channels. A register tile with too few sums to hide the latency of a multiply-add counts
    /// as a larger one.
    fn register_vectors(&self, patches: [usize; 2], channels: usize) -> usize {
        let [rows, columns] = self.max_patch(patches);
        if self.options.lane_axis == LaneAxis::Pixels {
            return (rows * columns).div_ceil(self.options.register_tile.lanes).max(2) * channels;
        }
        let is_contiguous = self.input_tile.as_ref().is_none_or(|tile| tile.pitch(columns) == columns);
        let (runs, run_pixels) = if is_contiguous { (1, rows * columns) } else { (rows, columns) };
        let vectors = self.options.output_blocks.block_channels / self.options.register_tile.lanes;
        let sums = (run_pixels * vectors)
            .max(run_pixels.div_ceil(self.options.register_tile.pixels) * MIN_SUMS)
            * runs;
        sums * (channels / self.options.output_blocks.block_channels)
    }

    /// Returns the number of vectors of input that the largest task copies, or reads if there is no input tile.
    fn copied_vectors(&self, patches: [usize; 2]) -> usize {
        let [rows, columns] = self.max_patch(patches);
        let floats = match &self.input_tile {
            Some(tile) => tile.floats([rows, columns], self.chunks.chunk_channels()),
            None => rows * columns * self.chunks.chunk_channels(),
        };
        (floats / self.options.register_tile.lanes).saturating_mul(self.chunks.count())
    }

    /// Returns the number of vectors of results of the largest task.
    fn stored_vectors(&self, pieces: &PieceCounts) -> usize {
        let [rows, columns] = self.max_patch(pieces.patches);
        rows * columns * self.segment_channels(pieces) / self.options.register_tile.lanes
    }
}

/// Returns the smallest number from 1 to `max` for which `fits` returns `true`, or `max` if there is none. If `fits`
/// returns `true` for a number, it must do so for all larger ones.
fn smallest(max: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, max.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Divides the output into `counts[0] × counts[1]` patches. Columns are divided at multiples of `column_multiple`, so
/// some patches can be empty and are left out.
fn patches(shape: &ConvShape, counts: [usize; 2], column_multiple: usize) -> Vec<Patch> {
    let pieces = |axis: usize, multiple: usize| {
        let (size, count) = (shape.output[axis], counts[axis]);
        let bound = move |i: usize| (i * size / count).next_multiple_of(multiple).min(size);
        (0..count).map(move |i| bound(i)..bound(i + 1)).filter(|piece| !piece.is_empty())
    };
    let patch = |rows: Range<usize>, columns: Range<usize>| Patch {
        y: rows.start,
        x: columns.start,
        rows: rows.len(),
        columns: columns.len(),
        consumer_rows: 0..0,
    };
    pieces(0, 1)
        .flat_map(|rows| pieces(1, column_multiple).map(move |columns| patch(rows.clone(), columns)))
        .collect()
}

/// Divides the consumer's rows into `count` ranges and returns the patch that each range reads: whole rows of the
/// producer's results. If the shape is flattened, all rows lie side by side in a single row.
fn bands(shape: &ConvShape, windows: &Windows, count: usize) -> Vec<Patch> {
    let [height, width] = windows.size;
    let band = |i: usize| {
        let consumer_rows = i * windows.rows / count..(i + 1) * windows.rows / count;
        let Range { start, end } = windows.input_rows(consumer_rows.clone());
        if shape.output == [height, width] {
            Patch { y: start, x: 0, rows: end - start, columns: width, consumer_rows }
        } else {
            Patch { y: 0, x: start * width, rows: 1, columns: (end - start) * width, consumer_rows }
        }
    };
    (0..count).map(band).collect()
}
