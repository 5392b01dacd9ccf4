//! The gradient of the weight as dot products of the output's gradient with the input under each tap:
//! vectors along the width, several output channels and taps in registers.

use super::super::extent::Extent;
use super::super::mask::{Margin, Planes};
use super::super::phases::{Phases, phases};
use super::super::real::Real;
use super::super::tasks::{TASKS, channels_per_task, run_all, split_channels};
use crate::simd::{Isa, Lanes, Work};
use std::ops::Range;

/// Output channels that one tile computes.
const BLOCK: usize = 4;
/// Pixels whose gradients, of a block of channels, stay in the first cache.
const CHUNK: usize = 1024;
/// Columns whose pixels every block of a task meets in turn, while they stay in the second cache.
const COLUMNS: usize = 36;

/// The gradient of the weight, `[outputs, inputs of a group, height, width]`.
///
/// The sum over the batch is cut into segments by the shape alone and added in their order, so that it
/// is bit-equal for any number of threads.
pub(in super::super) fn gradient<R: Real>(
    isa: Isa,
    extent: &Extent,
    input: &[R],
    grad: &Planes<R>,
) -> Vec<R> {
    let columns = extent.inputs * extent.taps();
    let channels = extent.groups * extent.outputs;
    let finite = grad.is_finite() && R::are_finite(input, isa);
    let input = phases(isa, extent, input, grad.pitch);
    let scan = Scan::new(extent, grad, &input, finite);

    let per_channel = extent.batch * extent.output_plane() * columns;
    let per_task = channels_per_task(channels, extent.outputs, 4 * BLOCK, per_channel);
    let chunks = chunks(extent.batch, &scan);
    let wanted = ((per_channel * channels) >> 20).clamp(1, TASKS.div_ceil(channels.div_ceil(per_task)));
    let segments: Vec<&[Chunk]> = chunks.chunks(chunks.len().div_ceil(wanted)).collect();

    let size = channels * columns;
    let mut partial = vec![R::default(); segments.len() * size];
    let mut tasks = Vec::new();
    for (to, chunks) in partial.chunks_mut(size).zip(segments) {
        for (first, to) in split_channels(to, columns, extent.outputs, per_task) {
            tasks.push(WeightTask { extent, scan: &scan, grad, input: &input, chunks, first, to });
        }
    }
    run_all(isa, extent.work(), tasks);

    let (result, rest) = partial.split_at_mut(size);
    for segment in rest.chunks(size) {
        result.iter_mut().zip(segment).for_each(|(sum, &x)| *sum += x);
    }
    partial.truncate(size);
    partial
}

/// Makes room in the output's gradient for rows on the pitch of the input's, so that a scan runs on over
/// their ends.
pub(in super::super) fn widen(extent: &Extent, margin: &mut Margin) {
    let (columns, [before, after]) = (&extent.axes[1], &mut margin[1]);
    *after = (*after).max(columns.max_shift().saturating_sub(*before));
}

/// How to walk over the pixels of an image: rows on a pitch of their own in either tensor, several
/// merged into one where nothing, or nothing but zeros of the gradient's margin, lies between them.
struct Scan {
    rows: usize,
    width: usize,
    grad_pitch: usize,
    input_pitch: usize,
}

impl Scan {
    /// Zeros may be multiplied with the input only where all of it is `finite`.
    fn new<R: Real>(extent: &Extent, grad: &Planes<R>, input: &Phases<R>, finite: bool) -> Self {
        let ([rows, width], pitch) = (extent.axes.map(|axis| axis.output), grad.pitch);
        let one_pitch = input.pitch == pitch && (finite || pitch == width);
        let fits = |merged: &usize| rows % merged == 0 && merged * pitch <= CHUNK;
        let merged = if one_pitch { (1..=rows).rev().find(fits).unwrap_or(1) } else { 1 };
        Self {
            rows: rows / merged,
            width: width + (merged - 1) * pitch,
            grad_pitch: pitch * merged,
            input_pitch: input.pitch * merged,
        }
    }
}

/// A part of the batch's pixels: some rows of one image, or whole images.
struct Chunk {
    image: usize,
    images: usize,
    row: usize,
    rows: usize,
}

fn chunks(batch: usize, scan: &Scan) -> Vec<Chunk> {
    let images = CHUNK / (scan.rows * scan.width);
    if images > 1 {
        let firsts = (0..batch).step_by(images);
        let chunk = |image| Chunk { image, images: images.min(batch - image), row: 0, rows: scan.rows };
        return firsts.map(chunk).collect();
    }
    let rows = (CHUNK / scan.width).clamp(1, scan.rows);
    let chunk = |image, row| Chunk { image, images: 1, row, rows: rows.min(scan.rows - row) };
    (0..batch).flat_map(|image| (0..scan.rows).step_by(rows).map(move |row| chunk(image, row))).collect()
}

/// Some output channels over one segment of the batch's pixels.
struct WeightTask<'a, R: Real> {
    extent: &'a Extent,
    scan: &'a Scan,
    grad: &'a Planes<R>,
    input: &'a Phases<'a, R>,
    chunks: &'a [Chunk],
    first: usize,
    to: &'a mut [R],
}

impl<R: Real> Work<R> for WeightTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(mut self, lanes: L) {
        let columns = self.input.columns.len();
        let to = std::mem::take(&mut self.to);
        for chunk in self.chunks {
            for start in (0..columns).step_by(COLUMNS) {
                self.blocks(lanes, chunk, start..columns.min(start + COLUMNS), to);
            }
        }
    }
}

impl<R: Real> WeightTask<'_, R> {
    /// Adds the products of some columns with every block of output channels.
    #[inline(always)]
    fn blocks<L>(&self, lanes: L, chunk: &Chunk, columns: Range<usize>, mut to: &mut [R])
    where
        L: Lanes<Real = R>,
    {
        let (size, mut first) = (self.input.columns.len(), self.first);
        while !to.is_empty() {
            let left = self.extent.outputs - first % self.extent.outputs;
            let block = BLOCK.min(left).min(to.len() / size);
            let (part, rest) = to.split_at_mut(block * size);
            let source = self.part(lanes, chunk, first);
            match block {
                4 => source.run::<4, 3>(columns.clone(), part),
                3 => source.run::<3, 3>(columns.clone(), part),
                2 => source.run::<2, 4>(columns.clone(), part),
                _ => source.run::<1, 9>(columns.clone(), part),
            }
            (first, to) = (first + block, rest);
        }
    }

    #[inline(always)]
    fn part<L: Lanes<Real = R>>(&self, lanes: L, chunk: &Chunk, first: usize) -> Part<'_, L> {
        let Self { extent, scan, grad, input, .. } = self;
        let grad_image = extent.groups * extent.outputs * grad.plane;
        let input_image = extent.groups * extent.inputs * input.channel;
        let channel = first / extent.outputs * extent.inputs;
        let from_grad = chunk.image * grad_image + first * grad.plane + grad.origin;
        let from_input = chunk.image * input_image + channel * input.channel;
        Part {
            lanes,
            size: [chunk.images, chunk.rows, scan.width],
            grad: &grad.data[from_grad + chunk.row * scan.grad_pitch..],
            grad_steps: [grad_image, scan.grad_pitch],
            grad_plane: grad.plane,
            input: &input.data[from_input + chunk.row * scan.input_pitch..],
            input_steps: [input_image, scan.input_pitch],
            columns: &input.columns,
        }
    }
}

/// One block of output channels over one chunk of pixels.
struct Part<'a, L: Lanes> {
    lanes: L,
    /// `[images, rows, width]`
    size: [usize; 3],
    grad: &'a [L::Real],
    /// From one image to the next, from one row to the next.
    grad_steps: [usize; 2],
    grad_plane: usize,
    input: &'a [L::Real],
    input_steps: [usize; 2],
    columns: &'a [usize],
}

impl<L: Lanes> Part<'_, L> {
    /// Adds the products of `C` output channels and a range of columns to `to`, `K` of them at a time.
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

    /// The products of `C` output channels with `K` columns, summed over the chunk.
    #[inline(always)]
    fn tile<const C: usize, const K: usize>(&self, columns: &[usize; K]) -> [[L::V; K]; C] {
        let [images, rows, width] = self.size;
        let whole = width - width % L::LANES;
        let mut sums = [[self.lanes.splat(L::Real::default()); K]; C];
        for image in 0..images {
            for row in 0..rows {
                let grad = image * self.grad_steps[0] + row * self.grad_steps[1];
                let input = image * self.input_steps[0] + row * self.input_steps[1];
                // SAFETY: a row of the chunk has `width` pixels in every plane of the gradient and,
                // from each column's offset on, in the input.
                unsafe {
                    for i in (0..whole).step_by(L::LANES) {
                        self.step(grad + i, input + i, columns, &mut sums, None);
                    }
                    if whole < width {
                        self.step(grad + whole, input + whole, columns, &mut sums, Some(width - whole));
                    }
                }
            }
        }
        sums
    }

    /// Adds the products of one vector of pixels, or of its first `count`.
    ///
    /// # Safety
    /// So many pixels are in bounds at `grad` in each of `C` planes and at `input` past each of `columns`.
    #[inline(always)]
    unsafe fn step<const C: usize, const K: usize>(
        &self,
        grad: usize,
        input: usize,
        columns: &[usize; K],
        sums: &mut [[L::V; K]; C],
        count: Option<usize>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut inputs = sums[0];
            for (to, &column) in inputs.iter_mut().zip(columns) {
                *to = self.load(self.input.as_ptr().add(input + column), count);
            }
            for (c, sums) in sums.iter_mut().enumerate() {
                let grad = self.load(self.grad.as_ptr().add(grad + c * self.grad_plane), count);
                for k in 0..K {
                    sums[k] = self.lanes.fma(grad, inputs[k], sums[k]);
                }
            }
        }
    }

    /// # Safety
    /// A vector, or its first `count` numbers, is in bounds at `from`.
    #[inline(always)]
    unsafe fn load(&self, from: *const L::Real, count: Option<usize>) -> L::V {
        // SAFETY: the caller's promise.
        unsafe {
            match count {
                None => self.lanes.load(from),
                Some(count) => self.lanes.load_partial(from, count),
            }
        }
    }
}
