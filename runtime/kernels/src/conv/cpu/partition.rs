//! The partition of a convolution into tasks: patches of output pixels × segments of output channels.
//!
//! Among the partitions whose pieces fit the caches, the one is chosen with which the given number of threads is
//! done soonest, by a count of cycles.

use super::fused_consumer::Windows;
use super::plan::{Chunks, OutputBlocks};
use super::tile::TileSize;
use crate::conv::ConvShape;
use std::ops::Range;

/// In cycles of a core that finishes two vectors of multiply-adds in each: what a task costs beside its work, and
/// what a vector that is copied or stored and a cache line of weights cost.
const TASK: usize = 2000;
const COPY: usize = 3;
const LINE: usize = 2;
/// In the same cycles, what a vector costs that another core has written, or will read.
const FOREIGN: usize = 25;
/// The independent sums that hide the latency of a multiply-add.
const SUMS: usize = 8;
/// The floats of a cache line.
const LINE_FLOATS: usize = 16;

/// A block of output pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
    /// The rows of a fused consumer that the patch is for.
    pub consumer_rows: Range<usize>,
}

/// What a task computes.
pub(super) struct Place<'a> {
    pub image: usize,
    pub group: usize,
    /// The patch, and its number.
    pub patch: &'a Patch,
    pub patch_index: usize,
    /// Output channels of the group: whole blocks, but for the last.
    pub outputs: Range<usize>,
}

/// The tasks of a convolution.
pub(super) struct Partition {
    pub patches: Vec<Patch>,
    segments: usize,
    groups: usize,
    batch: usize,
    blocks: OutputBlocks,
    order: Order,
}

/// Which of two neighboring tasks' coordinates differ, from the fastest to the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Neighboring tasks share their weights.
    PatchSegmentImage,
    /// Neighboring tasks share their weights, those of all images too.
    PatchImageSegment,
    /// Neighboring tasks share their pixels, so that a thread reads what it has written in the layer before.
    SegmentPatchImage,
}

/// The direction of the lanes in a register tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    Pixels,
    Channels,
}

/// What the choice of a partition depends on.
pub(super) struct PartitionProblem<'a> {
    pub shape: &'a ConvShape,
    pub lanes: usize,
    pub direction: Lanes,
    pub chunks: Chunks,
    pub blocks: OutputBlocks,
    /// The pixels of a register tile.
    pub pixels: usize,
    /// The tile that a task copies its input to, or `None` if it reads the input in place.
    pub tile: Option<TileSize>,
    /// The windows through which a fused consumer reads the results.
    pub windows: Option<Windows>,
    pub limits: Limits,
}

/// What a task may keep in the second-level cache, in floats, and the fewest segments.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub input: usize,
    /// Sums between chunks of input channels, or results that a consumer reads.
    pub sums: usize,
    pub segments: usize,
}

/// The counts of pieces.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Of rows and of columns; of the consumer's rows if there is one.
    patches: [usize; 2],
    /// Of output channels.
    segments: usize,
}

impl Partition {
    /// Returns the partition with which `threads` threads are done soonest.
    pub fn new(problem: &PartitionProblem<'_>, threads: usize, order: Order) -> Self {
        let cut = problem.best(threads);
        let ConvShape { batch, geometry, .. } = *problem.shape;
        let patches = match &problem.windows {
            Some(windows) => bands(problem.shape, windows, cut.patches[0]),
            None => patches(problem.shape, cut.patches, problem.column_unit()),
        };
        Self {
            patches,
            segments: cut.segments,
            groups: geometry.groups,
            batch,
            blocks: problem.blocks,
            order,
        }
    }

    pub fn tasks(&self) -> usize {
        self.batch * self.groups * self.patches.len() * self.segments
    }

    /// Returns the largest patch's rows and columns.
    pub fn largest_patch(&self) -> [usize; 2] {
        let largest = |size: fn(&Patch) -> usize| self.patches.iter().map(size).max().unwrap_or(0);
        [largest(|patch| patch.rows), largest(|patch| patch.columns)]
    }

    /// Returns the most output channels of a task.
    pub fn segment_outputs(&self) -> usize {
        self.blocks.count().div_ceil(self.segments) * self.blocks.block
    }

    pub fn place(&self, index: usize) -> Place<'_> {
        let (patches, images) = (self.patches.len(), self.batch * self.groups);
        let [patch_index, segment, image] = match self.order {
            Order::PatchSegmentImage => {
                [index % patches, index / patches % self.segments, index / patches / self.segments]
            }
            Order::PatchImageSegment => [index % patches, index / patches / images, index / patches % images],
            Order::SegmentPatchImage => {
                [index / self.segments % patches, index % self.segments, index / self.segments / patches]
            }
        };
        let bound = |segment: usize| segment * self.blocks.count() / self.segments * self.blocks.block;
        Place {
            image: image / self.groups,
            group: image % self.groups,
            patch: &self.patches[patch_index],
            patch_index,
            outputs: bound(segment)..bound(segment + 1).min(self.blocks.padded()),
        }
    }
}

impl PartitionProblem<'_> {
    /// The columns of a patch are a multiple of this, unless it ends at the end of a row.
    fn column_unit(&self) -> usize {
        if self.direction == Lanes::Pixels { self.lanes } else { 1 }
    }

    fn best(&self, threads: usize) -> Cut {
        let fewest = self.fewest_patches();
        let (axis, most) = self.finest();
        let most_columns = self.shape.output[1].div_ceil(self.column_unit());
        let finer = (0..4 * threads).map(|more| {
            let mut patches = fewest;
            let count = patches[axis] + more;
            patches[axis] = count.min(most);
            if axis == 0 && self.windows.is_none() {
                // If there is a patch for each row, rows are cut.
                patches[1] = count.div_ceil(most).clamp(fewest[1], most_columns.max(fewest[1]));
            }
            patches
        });
        let least = self.limits.segments.min(self.blocks.count()).max(1);
        let blocks = self.blocks.count();
        let segments = least..=blocks.min(least * 4 * threads).max(least);
        // Of all counts with equally large segments, only the least.
        let segments =
            segments.filter(|count| *count == least || *count == blocks.div_ceil(blocks.div_ceil(*count)));
        let cuts = finer.flat_map(|patches| segments.clone().map(move |segments| Cut { patches, segments }));
        // First of all every thread has work.
        let key = |cut: &Cut| (self.tasks(cut) < threads, self.time(cut, threads));
        cuts.min_by_key(key).unwrap_or(Cut { patches: fewest, segments: least })
    }

    /// Returns the axis along which there may be more patches, and the most of them.
    fn finest(&self) -> (usize, usize) {
        match (&self.windows, self.shape.output) {
            (Some(windows), _) => (0, windows.rows),
            (None, [1, width]) => (1, width.div_ceil(self.column_unit())),
            (None, [height, _]) => (0, height),
        }
    }

    /// Returns as few patches as the caches allow.
    fn fewest_patches(&self) -> [usize; 2] {
        let fits = |patches: [usize; 2]| {
            self.input_floats(patches) <= self.limits.input && self.sum_floats(patches) <= self.limits.sums
        };
        if let Some(windows) = &self.windows {
            return [first(windows.rows, |bands| fits([bands, 1])), 1];
        }
        let [height, width] = self.shape.output;
        let most = width.div_ceil(self.column_unit());
        match first(height, |rows| fits([rows, 1])) {
            rows if most == 1 || fits([rows, 1]) => [rows, 1],
            rows => [rows, first(most, |columns| fits([rows, columns]))],
        }
    }

    /// Returns the largest patch's rows and columns.
    fn patch(&self, patches: [usize; 2]) -> [usize; 2] {
        if let Some(windows) = &self.windows {
            let (rows, width) = (windows.most(windows.rows.div_ceil(patches[0])), windows.size[1]);
            return if self.shape.output == windows.size { [rows, width] } else { [1, rows * width] };
        }
        let [height, width] = self.shape.output;
        let columns = width.div_ceil(patches[1]).next_multiple_of(self.column_unit()).min(width);
        [height.div_ceil(patches[0]), columns]
    }

    /// Returns the floats that a task reads of the input for one chunk of channels.
    fn input_floats(&self, patches: [usize; 2]) -> usize {
        let [rows, columns] = self.patch(patches);
        match &self.tile {
            Some(tile) => tile.floats([rows, columns], self.chunks.len()),
            // Lanes over pixels read each pixel for one register tile at a time.
            None if self.direction == Lanes::Pixels => 0,
            None => rows * columns * self.chunks.len(),
        }
    }

    /// Returns the floats of a task's sums that stay in the cache.
    fn sum_floats(&self, patches: [usize; 2]) -> usize {
        let outputs = match (&self.windows, self.direction) {
            (Some(_), _) => self.blocks.block,
            (None, Lanes::Pixels) if self.chunks.count() > 1 => {
                self.blocks.count().div_ceil(self.limits.segments) * self.blocks.block
            }
            (None, _) => 0,
        };
        let [rows, columns] = self.patch(patches);
        (rows * columns).saturating_mul(outputs)
    }

    fn tasks(&self, cut: &Cut) -> usize {
        let images = self.shape.batch * self.shape.geometry.groups;
        images.max(1) * cut.patches[0] * cut.patches[1] * cut.segments
    }

    /// Returns the cycles that `threads` threads take for all tasks.
    fn time(&self, cut: &Cut, threads: usize) -> usize {
        let rounds = self.tasks(cut).div_ceil(threads);
        rounds.saturating_mul(
            self.cycles(cut).saturating_add(self.foreign(cut, threads).saturating_mul(FOREIGN)),
        )
    }

    /// Returns the vectors of the largest task that belong to another core in the layers before and after, if each
    /// thread has its own pixels there.
    fn foreign(&self, cut: &Cut, threads: usize) -> usize {
        let own = (self.shape.batch * cut.patches[0] * cut.patches[1]).is_multiple_of(threads);
        if own || self.direction == Lanes::Pixels {
            return 0;
        }
        let moved = self.copied_vectors(cut.patches).saturating_add(self.stored_vectors(cut));
        moved.saturating_mul(threads - 1) / threads
    }

    /// Returns the cycles of the largest task.
    fn cycles(&self, cut: &Cut) -> usize {
        let outputs = self.outputs(cut);
        let products = self.register_vectors(cut.patches, outputs).saturating_mul(self.shape.taps()) / 2;
        let copied = if self.tile.is_some() { self.copied_vectors(cut.patches) } else { 0 };
        let moved =
            copied.saturating_add(self.stored_vectors(cut) * self.chunks.count()).saturating_mul(COPY);
        let lines = outputs.saturating_mul(self.shape.taps()).div_ceil(LINE_FLOATS).saturating_mul(LINE);
        products.saturating_add(moved).saturating_add(lines).saturating_add(TASK)
    }

    /// Returns the output channels of the largest segment.
    fn outputs(&self, cut: &Cut) -> usize {
        self.blocks.count().div_ceil(cut.segments) * self.blocks.block
    }

    /// Returns the vectors that the register tiles of a patch add up for each tap, those that a tile waits for
    /// included.
    fn register_vectors(&self, patches: [usize; 2], outputs: usize) -> usize {
        let [rows, columns] = self.patch(patches);
        if self.direction == Lanes::Pixels {
            return (rows * columns).div_ceil(self.lanes).max(2) * outputs;
        }
        let goes_on = self.tile.as_ref().is_none_or(|tile| tile.pitch(columns) == columns);
        let (runs, run) = if goes_on { (1, rows * columns) } else { (rows, columns) };
        let vectors = self.blocks.block / self.lanes;
        let sums = (run * vectors).max(run.div_ceil(self.pixels) * SUMS) * runs;
        sums * (outputs / self.blocks.block)
    }

    fn copied_vectors(&self, patches: [usize; 2]) -> usize {
        let [rows, columns] = self.patch(patches);
        let floats = match &self.tile {
            Some(tile) => tile.floats([rows, columns], self.chunks.len()),
            None => rows * columns * self.chunks.len(),
        };
        (floats / self.lanes).saturating_mul(self.chunks.count())
    }

    fn stored_vectors(&self, cut: &Cut) -> usize {
        let [rows, columns] = self.patch(cut.patches);
        rows * columns * self.outputs(cut) / self.lanes
    }
}

/// Returns the smallest number from 1 to `most` for which `fits`, which holds from some number on, or `most`.
fn first(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, most.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Returns all patches of the output, `counts` on each axis. Columns are cut at multiples of `unit`.
fn patches(shape: &ConvShape, counts: [usize; 2], unit: usize) -> Vec<Patch> {
    let pieces = |axis: usize, unit: usize| {
        let (size, count) = (shape.output[axis], counts[axis]);
        let bound = move |i: usize| (i * size / count).next_multiple_of(unit).min(size);
        (0..count).map(move |i| bound(i)..bound(i + 1)).filter(|piece| !piece.is_empty())
    };
    let patch = |rows: Range<usize>, columns: Range<usize>| Patch {
        y: rows.start,
        x: columns.start,
        rows: rows.len(),
        columns: columns.len(),
        consumer_rows: 0..0,
    };
    pieces(0, 1).flat_map(|rows| pieces(1, unit).map(move |columns| patch(rows.clone(), columns))).collect()
}

/// Returns what each of `count` runs of the consumer's rows reads: whole rows, which a flattened shape has side
/// by side.
fn bands(shape: &ConvShape, windows: &Windows, count: usize) -> Vec<Patch> {
    let [height, width] = windows.size;
    let band = |i: usize| {
        let consumer_rows = i * windows.rows / count..(i + 1) * windows.rows / count;
        let Range { start, end } = windows.reads(consumer_rows.clone());
        if shape.output == [height, width] {
            Patch { y: start, x: 0, rows: end - start, columns: width, consumer_rows }
        } else {
            Patch { y: 0, x: start * width, rows: 1, columns: (end - start) * width, consumer_rows }
        }
    };
    (0..count).map(band).collect()
}
