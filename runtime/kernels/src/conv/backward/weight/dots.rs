//! The gradient of the weight as dot products of the output's gradient with the input under each tap. Vectors run along
//! the width, and a register tile holds several output channels and columns.
//!
//! A column is a column of the im2col matrix: a tap of an input channel. A block is up to 4 output channels. A chunk is
//! about 1024 pixels of the batch, and a segment is several consecutive chunks, over which one task sums.

use std::ops::Range;

use crate::simd::{Isa, Lanes, Task};

use super::super::extent::Extent;
use super::super::mask::{Margin, MaskedGrad};
use super::super::phases::{SplitInput, split_input};
use super::super::real::Real;
use super::super::tasks::{MIN_TASKS, channels_per_task, run_tasks, split_channels};

/// The number of output channels in a register tile.
const BLOCK_CHANNELS: usize = 4;
/// The number of pixels in a chunk. The gradients of a block of channels for this many pixels stay in the L1 cache.
const CHUNK_PIXELS: usize = 1024;
/// The number of columns in a range. Their inputs stay in the L2 cache while all blocks of a task read them.
const RANGE_COLUMNS: usize = 36;

/// Returns the gradient of the weight, `[out_channels, in_channels / groups, kernel height, kernel width]`.
///
/// The split of the batch into segments does not depend on the number of threads. The sums of the segments are added in
/// order, so the result is bit-identical for any number of threads.
pub(in super::super) fn gradient<R: Real>(
    isa: Isa,
    extent: &Extent,
    input: &[R],
    grad: &MaskedGrad<R>,
) -> Vec<R> {
    let columns = extent.group_in_channels * extent.taps();
    let channels = extent.groups * extent.group_out_channels;
    let is_finite = grad.is_finite() && R::are_finite(input, isa);
    let input = split_input(isa, extent, input, grad.pitch);
    let row_layout = RowLayout::new(extent, grad, &input, is_finite);

    // The number of multiply-adds for one output channel.
    let channel_work = extent.batch * extent.output_plane() * columns;
    let per_task = channels_per_task(channels, extent.group_out_channels, 4 * BLOCK_CHANNELS, channel_work);
    let chunks = chunks(extent.batch, &row_layout);
    // A segment has at least 2²⁰ multiply-adds.
    let segment_count =
        ((channel_work * channels) >> 20).clamp(1, MIN_TASKS.div_ceil(channels.div_ceil(per_task)));
    let segments: Vec<&[Chunk]> = chunks.chunks(chunks.len().div_ceil(segment_count)).collect();

    let size = channels * columns;
    let mut partial = vec![R::default(); segments.len() * size];
    let mut tasks = Vec::new();
    for (to, chunks) in partial.chunks_mut(size).zip(segments) {
        for (first, to) in split_channels(to, columns, extent.group_out_channels, per_task) {
            tasks.push(WeightTask {
                extent,
                row_layout: &row_layout,
                grad,
                input: &input,
                chunks,
                first,
                to,
            });
        }
    }
    run_tasks(isa, extent.work(), tasks);

    let (result, rest) = partial.split_at_mut(size);
    for segment in rest.chunks(size) {
        result.iter_mut().zip(segment).for_each(|(sum, &x)| *sum += x);
    }
    partial.truncate(size);
    partial
}

/// Extends the margin of the output's gradient so that its rows are as far apart as the rows of the split input.
/// [`RowLayout::new`] merges rows only if these distances are equal.
pub(in super::super) fn extend_margin(extent: &Extent, margin: &mut Margin) {
    let [before, after] = &mut margin[1];
    *after = (*after).max(extent.axes[1].max_shift().saturating_sub(*before));
}

/// The rows in which the pixels of an image are summed.
///
/// Several rows of the image are merged into a longer one if nothing, or only zeros of the gradient's margin, lies
/// between them. The zeros are then multiplied as well.
struct RowLayout {
    /// The number of rows, after merging.
    rows: usize,
    /// The number of elements of a row, including the zeros between merged rows.
    width: usize,
    /// The distance between rows in the gradient.
    grad_pitch: usize,
    /// The distance between rows in the input.
    input_pitch: usize,
}

impl RowLayout {
    /// Merges rows across a margin only if the input and the gradient are finite, because 0 · ∞ is NaN.
    fn new<R: Real>(extent: &Extent, grad: &MaskedGrad<R>, input: &SplitInput<R>, is_finite: bool) -> Self {
        let ([rows, width], pitch) = (extent.axes.map(|axis| axis.output), grad.pitch);
        let can_merge = input.pitch == pitch && (is_finite || pitch == width);
        let fits = |merged: &usize| rows % merged == 0 && merged * pitch <= CHUNK_PIXELS;
        let merged = if can_merge { (1..=rows).rev().find(fits).unwrap_or(1) } else { 1 };
        Self {
            rows: rows / merged,
            width: width + (merged - 1) * pitch,
            grad_pitch: pitch * merged,
            input_pitch: input.pitch * merged,
        }
    }
}

/// A chunk of pixels: some rows of one image, or all rows of several images.
struct Chunk {
    /// The first image.
    image: usize,
    /// The number of images.
    images: usize,
    /// The first row.
    row: usize,
    /// The number of rows in each image.
    rows: usize,
}

/// Splits the pixels of the batch into chunks of about [`CHUNK_PIXELS`] pixels.
fn chunks(batch: usize, row_layout: &RowLayout) -> Vec<Chunk> {
    let images = CHUNK_PIXELS / (row_layout.rows * row_layout.width);
    if images > 1 {
        let firsts = (0..batch).step_by(images);
        let chunk = |image| Chunk { image, images: images.min(batch - image), row: 0, rows: row_layout.rows };
        return firsts.map(chunk).collect();
    }
    let rows = (CHUNK_PIXELS / row_layout.width).clamp(1, row_layout.rows);
    let chunk = |image, row| Chunk { image, images: 1, row, rows: rows.min(row_layout.rows - row) };
    (0..batch)
        .flat_map(|image| (0..row_layout.rows).step_by(rows).map(move |row| chunk(image, row)))
        .collect()
}

/// The task that computes some output channels over one segment of the batch's pixels.
struct WeightTask<'a, R: Real> {
    extent: &'a Extent,
    row_layout: &'a RowLayout,
    grad: &'a MaskedGrad<R>,
    input: &'a SplitInput<'a, R>,
    chunks: &'a [Chunk],
    /// The first output channel.
    first: usize,
    /// `[output channel][column]`
    to: &'a mut [R],
}

impl<R: Real> Task<R> for WeightTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(mut self, lanes: L) {
        let columns = self.input.column_offsets.len();
        let to = std::mem::take(&mut self.to);
        for chunk in self.chunks {
            for start in (0..columns).step_by(RANGE_COLUMNS) {
                self.add_blocks(lanes, chunk, start..columns.min(start + RANGE_COLUMNS), to);
            }
        }
    }
}

impl<R: Real> WeightTask<'_, R> {
    /// Adds the dot products of a range of columns with every block of output channels to the sums in `to`.
    #[inline(always)]
    fn add_blocks<L>(&self, lanes: L, chunk: &Chunk, columns: Range<usize>, mut to: &mut [R])
    where
        L: Lanes<Real = R>,
    {
        let size = self.input.column_offsets.len();
        let mut first = self.first;
        while !to.is_empty() {
            let left = self.extent.group_out_channels - first % self.extent.group_out_channels;
            let block = BLOCK_CHANNELS.min(left).min(to.len() / size);
            let (part, rest) = to.split_at_mut(block * size);
            let kernel = self.kernel(lanes, chunk, first);
            match block {
                4 => kernel.run::<4, 3>(columns.clone(), part),
                3 => kernel.run::<3, 3>(columns.clone(), part),
                2 => kernel.run::<2, 4>(columns.clone(), part),
                _ => kernel.run::<1, 9>(columns.clone(), part),
            }
            (first, to) = (first + block, rest);
        }
    }

    /// Returns the micro-kernel for a chunk and the block of output channels that begins at `first`.
    #[inline(always)]
    fn kernel<L: Lanes<Real = R>>(&self, lanes: L, chunk: &Chunk, first: usize) -> DotKernel<'_, L> {
        let Self { extent, row_layout, grad, input, .. } = self;
        let grad_image = extent.groups * extent.group_out_channels * grad.plane_stride;
        let input_image = extent.groups * extent.group_in_channels * input.channel_stride;
        let channel = first / extent.group_out_channels * extent.group_in_channels;
        let grad_start = chunk.image * grad_image + first * grad.plane_stride + grad.origin;
        let input_start = chunk.image * input_image + channel * input.channel_stride;
        DotKernel {
            lanes,
            size: [chunk.images, chunk.rows, row_layout.width],
            grad: &grad.data[grad_start + chunk.row * row_layout.grad_pitch..],
            grad_steps: [grad_image, row_layout.grad_pitch],
            grad_plane_stride: grad.plane_stride,
            input: &input.data[input_start + chunk.row * row_layout.input_pitch..],
            input_steps: [input_image, row_layout.input_pitch],
            columns: &input.column_offsets,
        }
    }
}

/// The micro-kernel for one block of output channels and one chunk of pixels.
struct DotKernel<'a, L: Lanes> {
    lanes: L,
    /// `[images, rows, width]` of the chunk.
    size: [usize; 3],
    grad: &'a [L::Real],
    /// The distances to the next image and to the next row.
    grad_steps: [usize; 2],
    /// The distance to the next output channel.
    grad_plane_stride: usize,
    input: &'a [L::Real],
    /// The distances to the next image and to the next row.
    input_steps: [usize; 2],
    /// See [`SplitInput::column_offsets`].
    columns: &'a [usize],
}

impl<L: Lanes> DotKernel<'_, L> {
    /// Adds the dot products of `C` output channels and a range of columns to the sums in `to`, in tiles of `K`
    /// columns.
    #[inline(always)]
    fn run<const C: usize, const K: usize>(self, range: Range<usize>, to: &mut [L::Real]) {
        for start in range.clone().step_by(K) {
            let count = K.min(range.end - start);
            let mut columns = [self.columns[start]; K];
            columns[..count].copy_from_slice(&self.columns[start..start + count]);
            let sums = self.tile::<C, K>(&columns);
            for (to, sums) in to.chunks_exact_mut(self.columns.len()).zip(&sums) {
                for (to, &sum) in to[start..start + count].iter_mut().zip(sums) {
                    *to += self.lanes.sum(sum);
                }
            }
        }
    }

    /// Returns the dot products of `C` output channels with `K` columns over the chunk, as vectors of partial sums.
    #[inline(always)]
    fn tile<const C: usize, const K: usize>(&self, columns: &[usize; K]) -> [[L::V; K]; C] {
        let [images, rows, width] = self.size;
        let vectors_end = width - width % L::LANES;
        let mut sums = [[self.lanes.splat(L::Real::default()); K]; C];
        for image in 0..images {
            for row in 0..rows {
                let grad = image * self.grad_steps[0] + row * self.grad_steps[1];
                let input = image * self.input_steps[0] + row * self.input_steps[1];
                // SAFETY: a row of the chunk has `width` pixels in every plane of the gradient and, from each column's
                // offset on, in the input.
                unsafe {
                    for i in (0..vectors_end).step_by(L::LANES) {
                        self.step(grad + i, input + i, columns, &mut sums, None);
                    }
                    if vectors_end < width {
                        self.step(
                            grad + vectors_end,
                            input + vectors_end,
                            columns,
                            &mut sums,
                            Some(width - vectors_end),
                        );
                    }
                }
            }
        }
        sums
    }

    /// Adds the products of one vector of pixels, or of its first `count` pixels.
    ///
    /// # Safety
    /// `count` pixels, or `LANES` if `count` is `None`, are in bounds at `grad` in each of `C` planes, and at `input`
    /// plus each of `columns`.
    #[inline(always)]
    unsafe fn step<const C: usize, const K: usize>(
        &self,
        grad: usize,
        input: usize,
        columns: &[usize; K],
        sums: &mut [[L::V; K]; C],
        count: Option<usize>,
    ) {
        // SAFETY: the caller guarantees these bounds.
        unsafe {
            let mut inputs = sums[0];
            for (x, &column) in inputs.iter_mut().zip(columns) {
                *x = self.load(self.input.as_ptr().add(input + column), count);
            }
            for (c, sums) in sums.iter_mut().enumerate() {
                let grad = self.load(self.grad.as_ptr().add(grad + c * self.grad_plane_stride), count);
                for k in 0..K {
                    sums[k] = self.lanes.fma(grad, inputs[k], sums[k]);
                }
            }
        }
    }

    /// Loads a vector, or its first `count` numbers.
    ///
    /// # Safety
    /// `count` numbers, or `LANES` if `count` is `None`, are in bounds at `from`.
    #[inline(always)]
    unsafe fn load(&self, from: *const L::Real, count: Option<usize>) -> L::V {
        // SAFETY: the caller guarantees these bounds.
        unsafe {
            match count {
                None => self.lanes.load(from),
                Some(count) => self.lanes.load_partial(from, count),
            }
        }
    }
}
