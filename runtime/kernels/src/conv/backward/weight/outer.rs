//! The gradient of the weight as a sum of outer products, one for each output pixel: the gradients of a vector of
//! output channels times the inputs under several taps.
//!
//! Each pixel is one step of the loop, so the cost of a pixel does not depend on the stride or on the image's size.
//!
//! A column is a column of the im2col matrix: a tap of an input channel. A block is 16, 32 or 64 output channels
//! (`width`) of a group. A chunk is about 64 pixels of the batch, and a segment is several consecutive chunks, over
//! which one task sums.

use std::mem::MaybeUninit;

use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::memory::{vec_written_by, write_zeros};
use crate::simd::{Isa, Lanes, Real, Task};

use super::super::extent::Extent;
use super::super::phases::{SplitInput, split_input};
use super::super::tasks::{MIN_TASKS, run_tasks, split_channels};

/// The candidates for the number of output channels in a block. In the packed gradients, the channels of a block are
/// contiguous for each pixel.
const BLOCK_WIDTHS: [usize; 3] = [64, 32, 16];
/// The number of pixels in a chunk. The gradients of a block for this many pixels stay in the L1 cache.
const CHUNK_PIXELS: usize = 64;
/// The minimum number of pixels of a segment. With fewer, storing and adding its sums costs too much.
const MIN_SEGMENT_PIXELS: usize = 512;
/// The number of sums that one [`AddSegmentsTask`] computes.
const TASK_SUMS: usize = 1 << 13;
/// The minimum number of columns of a task. With fewer, transposing the gradients of its block costs too much.
const MIN_COLUMNS: usize = 256;

/// Returns the gradient of the weight. `input` and `grad`, the masked gradient, are `[batch, channels, height, width]`
/// without margins.
///
/// The shape alone decides how the batch is split into segments. The sums of the segments are added in order, so the
/// result is bit-identical for any number of threads.
pub(in super::super) fn gradient<R: Real>(isa: Isa, extent: &Extent, input: &[R], grad: &[R]) -> Vec<R> {
    let Extent { groups, group_out_channels, .. } = *extent;
    let input = split_input(isa, extent, input, 0);
    let columns = input.column_offsets.len();
    let width = width(group_out_channels);
    let pixels = pixel_offsets(extent, input.pitch);
    let partition = WeightPartition::new(extent, columns, groups * group_out_channels.div_ceil(width));

    let size = columns * width;
    let segments = partition.segments.len();
    let fill = |partial: &mut [MaybeUninit<R>]| {
        let mut tasks = Vec::new();
        for (index, to) in partial.chunks_mut(size).enumerate() {
            let block = index / segments;
            let chunks = &partition.segments[index % segments];
            for (range, to) in to.chunks_mut(partition.task_columns * width).enumerate() {
                let columns = &input.column_offsets[range * partition.task_columns..][..to.len() / width];
                let input = &input;
                let pixels = &pixels;
                tasks.push(OuterTask { extent, input, grad, pixels, width, block, chunks, columns, to });
            }
        }
        run_tasks(isa, extent.work(), tasks);
    };
    // SAFETY: the tasks' parts cover the whole vector, and each task zeroes its part first.
    let mut partial: Vec<R> = unsafe { vec_written_by(partition.blocks * segments * size, fill) };

    // Reading an element costs about as much as eight multiply-adds.
    let work = 8 * partial.len();
    let mut tasks = Vec::new();
    for block in partial.chunks_mut(segments * size) {
        let (to, from) = block.split_at_mut(size);
        let parts = to.chunks_mut(TASK_SUMS).enumerate();
        tasks.extend(parts.map(|(index, to)| AddSegmentsTask { size, first: index * TASK_SUMS, from, to }));
    }
    run_tasks(isa, work, tasks);

    let mut result = vec![R::default(); groups * group_out_channels * columns];
    let rows = split_channels(&mut result, columns, group_out_channels, width.min(group_out_channels));
    let blocks = rows.into_iter().zip(partial.chunks(segments * size));
    let tasks = blocks.map(|((_, to), from)| StoreTask { width, columns, from: &from[..size], to }).collect();
    run_tasks(isa, 8 * partition.blocks * size, tasks);
    result
}

/// Returns the block width that leaves the fewest lanes without a channel.
fn width(group_out_channels: usize) -> usize {
    // `min_by_key` returns the first minimum, which is the widest.
    BLOCK_WIDTHS
        .into_iter()
        .min_by_key(|width| group_out_channels.next_multiple_of(*width))
        .unwrap_or(BLOCK_WIDTHS[0])
}

/// Returns, for each output pixel, its offset from output pixel `[0, 0]` in the split input. For a column of
/// the im2col matrix, the pixel reads the element at this offset plus the column's offset.
fn pixel_offsets(extent: &Extent, pitch: usize) -> Vec<usize> {
    let [height, width] = extent.axes.map(|axis| axis.output);
    (0..height).flat_map(|y| (0..width).map(move |x| y * pitch + x)).collect()
}

/// A chunk of pixels: some pixels of one image, or all pixels of several images.
struct Chunk {
    /// The first image.
    image: usize,
    /// The number of images.
    images: usize,
    /// The first pixel.
    first: usize,
    /// The number of pixels in each image.
    count: usize,
}

/// The partition of the work into tasks. Depends on the shape alone.
struct WeightPartition {
    /// The number of blocks of output channels.
    blocks: usize,
    /// The number of columns of a task.
    task_columns: usize,
    /// The chunks of each segment of the batch's pixels.
    segments: Vec<Vec<Chunk>>,
}

impl WeightPartition {
    fn new(extent: &Extent, columns: usize, blocks: usize) -> Self {
        let ranges = (columns / MIN_COLUMNS).clamp(1, MIN_TASKS.div_ceil(blocks));
        let pixels = extent.batch * extent.output_plane();
        let segment_count = (pixels / MIN_SEGMENT_PIXELS).clamp(1, MIN_TASKS.div_ceil(blocks * ranges));
        let mut chunks = chunks(extent.batch, extent.output_plane());
        let segment_chunks = chunks.len().div_ceil(segment_count);
        let mut segments = Vec::new();
        while !chunks.is_empty() {
            let rest = chunks.split_off(segment_chunks.min(chunks.len()));
            segments.push(std::mem::replace(&mut chunks, rest));
        }
        Self { blocks, task_columns: columns.div_ceil(ranges), segments }
    }
}

/// Splits the pixels of the batch into chunks of about [`CHUNK_PIXELS`] pixels.
fn chunks(batch: usize, plane: usize) -> Vec<Chunk> {
    let images = CHUNK_PIXELS / plane;
    if images > 1 {
        let chunk = |image| Chunk { image, images: images.min(batch - image), first: 0, count: plane };
        return (0..batch).step_by(images).map(chunk).collect();
    }
    let count = plane.div_ceil(plane.div_ceil(CHUNK_PIXELS));
    let chunk = |image, first| Chunk { image, images: 1, first, count: count.min(plane - first) };
    (0..batch).flat_map(|image| (0..plane).step_by(count).map(move |first| chunk(image, first))).collect()
}

/// The task that computes one block of output channels and a range of columns over one segment of the batch's pixels.
struct OuterTask<'a, R: Real> {
    extent: &'a Extent,
    input: &'a SplitInput<'a, R>,
    grad: &'a [R],
    /// See [`pixel_offsets`].
    pixels: &'a [usize],
    /// The number of output channels in the block.
    width: usize,
    /// The index of the block, counted across all groups.
    block: usize,
    chunks: &'a [Chunk],
    /// The part of [`SplitInput::column_offsets`] that belongs to the task.
    columns: &'a [usize],
    /// `[column][width]`
    to: &'a mut [MaybeUninit<R>],
}

impl<R: Real> Task<R> for OuterTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(mut self, lanes: L) {
        let to = write_zeros(std::mem::take(&mut self.to));
        let mut packed = vec![R::default(); CHUNK_PIXELS * self.width];
        for chunk in self.chunks {
            self.pack(lanes, chunk, &mut packed);
            let kernel = OuterKernel { lanes, task: &self, chunk, packed: &packed };
            // With these tiles, the sums leave some registers free for the factors.
            match self.width / L::LANES {
                4 if L::REGISTERS >= 32 => kernel.run::<4, 6, 3>(to),
                2 if L::REGISTERS >= 32 => kernel.run::<2, 8, 4>(to),
                1 if L::REGISTERS >= 32 => kernel.run::<1, 10, 5>(to),
                _ => kernel.run::<2, 6, 3>(to),
            }
        }
    }
}

impl<R: Real> OuterTask<'_, R> {
    /// Returns the group to which the task's block belongs, the block's first output channel in this group, and the
    /// number of channels in the block.
    fn channels(&self) -> (usize, usize, usize) {
        let per_group = self.extent.group_out_channels.div_ceil(self.width);
        let first = self.block % per_group * self.width;
        (self.block / per_group, first, self.width.min(self.extent.group_out_channels - first))
    }

    /// Packs the gradients of a chunk into `packed`, `[pixel][width]`. Lanes without a channel are zero and stay zero.
    #[inline(always)]
    fn pack<L: Lanes<Real = R>>(&self, lanes: L, chunk: &Chunk, packed: &mut [R]) {
        let (group, first, count) = self.channels();
        let Extent { groups, group_out_channels, .. } = *self.extent;
        let plane = self.extent.output_plane();
        for image in 0..chunk.images {
            let channel = ((chunk.image + image) * groups + group) * group_out_channels + first;
            let from = &self.grad[channel * plane + chunk.first..];
            let to = &mut packed[image * chunk.count * self.width..];
            transpose(lanes, [count, chunk.count], from, plane, to, self.width);
        }
    }
}

/// Transposes a `rows` × `columns` matrix. Its rows are `pitch` apart in `from`, and the rows of the transpose are
/// `width` apart in `to`.
#[inline(always)]
pub(in super::super) fn transpose<L: Lanes>(
    lanes: L,
    [rows, columns]: [usize; 2],
    from: &[L::Real],
    pitch: usize,
    to: &mut [L::Real],
    width: usize,
) {
    assert!((rows - 1) * pitch + columns <= from.len() && (columns - 1) * width + rows <= to.len());
    // The rows that are transposed in blocks of `LANES` × `LANES`.
    let block_rows = if columns < L::LANES { 0 } else { rows - rows % L::LANES };
    for row in (0..block_rows).step_by(L::LANES) {
        for column in (0..columns).step_by(L::LANES) {
            // The last block overlaps the block before it.
            let column = column.min(columns - L::LANES);
            // SAFETY: `row + LANES <= rows` and `column + LANES <= columns`, so that both blocks are in bounds, as
            // asserted above.
            unsafe {
                let from = from.as_ptr().add(row * pitch + column);
                lanes.transpose(from, pitch, to.as_mut_ptr().add(column * width + row), width);
            }
        }
    }
    for row in block_rows..rows {
        let to = to[row..].iter_mut().step_by(width);
        to.zip(&from[row * pitch..][..columns]).for_each(|(to, from)| *to = *from);
    }
}

/// The micro-kernel for one chunk of pixels of a task.
struct OuterKernel<'a, L: Lanes> {
    lanes: L,
    task: &'a OuterTask<'a, L::Real>,
    chunk: &'a Chunk,
    /// The packed gradients of the chunk, `[pixel][width]`.
    packed: &'a [L::Real],
}

impl<L: Lanes> OuterKernel<'_, L> {
    /// Adds the outer products to the sums in `to`, in tiles of `K` columns and `V` vectors. If at most `H` (half of
    /// `K`) columns remain for the last tile, its size is `H` columns.
    #[inline(always)]
    fn run<const V: usize, const K: usize, const H: usize>(self, to: &mut [L::Real]) {
        let width = self.task.width;
        assert_eq!(to.len(), self.task.columns.len() * width);
        assert_eq!(width % (V * L::LANES), 0);
        let tiles = to.chunks_mut(K * width).zip(self.task.columns.chunks(K));
        for (sums, columns) in tiles {
            for first in (0..width).step_by(V * L::LANES) {
                if columns.len() > H {
                    self.tile::<V, K>(first, columns, sums);
                } else {
                    self.tile::<V, H>(first, columns, sums);
                }
            }
        }
    }

    /// Adds the outer products for `columns`, at most `K`, and for the channels `first..first + V * LANES` of the block
    /// to the sums in `to`.
    #[inline(always)]
    fn tile<const V: usize, const K: usize>(&self, first: usize, columns: &[usize], to: &mut [L::Real]) {
        let lanes = self.lanes;
        let width = self.task.width;
        let mut tile = RegisterTile::<L, K, V>::zeros(lanes);
        for (sums, to) in tile.sums.iter_mut().zip(to.chunks_exact(width)) {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `to` has `width` numbers, and `first + V * LANES <= width`, because `V * LANES` divides both.
                *sum = unsafe { lanes.load(to.as_ptr().add(first + v * L::LANES)) };
            }
        }
        // The last tile may have fewer columns. It then repeats its last column, and discards the sums of the repeats.
        let columns: [usize; K] = std::array::from_fn(|k| columns[k.min(columns.len() - 1)]);
        self.add_pixels(first, columns, &mut tile);
        for (sums, to) in tile.sums.iter().zip(to.chunks_exact_mut(width)) {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: as for the load above.
                unsafe { lanes.store(to.as_mut_ptr().add(first + v * L::LANES), *sum) };
            }
        }
    }

    /// Adds the outer product of every pixel of the chunk to the tile.
    #[inline(always)]
    fn add_pixels<const V: usize, const K: usize>(
        &self,
        first: usize,
        columns: [usize; K],
        tile: &mut RegisterTile<L, K, V>,
    ) {
        let OuterTask { extent, input, width, .. } = *self.task;
        let chunk = self.chunk;
        let (group, ..) = self.task.channels();
        let pixels = &self.task.pixels[chunk.first..][..chunk.count];
        assert!(self.packed.len() >= chunk.images * chunk.count * width);
        let mut grads =
            Columns { start: self.packed[first..].as_ptr(), vectors: consecutive(L::LANES), step: width };
        for image in chunk.image..chunk.image + chunk.images {
            let channel = (image * extent.groups + group) * extent.group_in_channels;
            let image = &input.data[channel * input.channel_stride..]
                [..extent.group_in_channels * input.channel_stride];
            assert!(columns.iter().all(|column| *column < image.len()));
            for &pixel in pixels {
                let inputs = Rows { start: image.as_ptr().wrapping_add(pixel), rows: columns, step: 0 };
                // SAFETY: a row of `packed` has `width` numbers, and `first + V * LANES <= width`. The padded input of
                // a group has a number for every output pixel under each tap, at `column + pixel`.
                unsafe { tile.add_outer_product::<0>(inputs, grads) };
                grads.start = grads.start.wrapping_add(width);
            }
        }
    }
}

/// The task that adds up the segments of a block, in order, for some of the block's sums.
struct AddSegmentsTask<'a, R> {
    /// The number of sums of a segment.
    size: usize,
    /// The index of the task's first sum in each segment.
    first: usize,
    /// The sums of all segments but the first.
    from: &'a [R],
    /// The task's sums of the first segment, which become the totals.
    to: &'a mut [R],
}

impl<R: Real> Task<R> for AddSegmentsTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        let Self { size, first, from, to } = self;
        for segment in from.chunks_exact(size) {
            to.iter_mut().zip(&segment[first..]).for_each(|(sum, x)| *sum += *x);
        }
    }
}

/// The task that transposes the sums of one block of output channels into the result.
struct StoreTask<'a, R> {
    /// The number of output channels in the block.
    width: usize,
    /// The number of im2col columns.
    columns: usize,
    /// `[column][width]`
    from: &'a [R],
    /// `[output channel][column]`
    to: &'a mut [R],
}

impl<R: Real> Task<R> for StoreTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Self { width, columns, from, to } = self;
        transpose(lanes, [columns, to.len() / columns], from, width, to, columns);
    }
}
