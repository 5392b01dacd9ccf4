//! The gradient of the weight as a sum of outer products, one a pixel: the gradients of a vector of output
//! channels times the inputs under several taps.
//!
//! A pixel is one step, wherever it lies, so that short rows, strides and images of any size cost the same.

use super::super::extent::Extent;
use super::super::phases::{Phases, phases};
use super::super::tasks::{TASKS, run_all, split_channels};
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::memory::{vec_written_by, write_zeros};
use crate::simd::{Isa, Lanes, Real, Work};
use std::mem::MaybeUninit;

/// Output channels of a block: that many numbers of a pixel lie side by side.
const WIDTHS: [usize; 3] = [64, 32, 16];
/// Pixels of which a block's gradients stay in the first cache.
const PIXELS: usize = 64;
/// Pixels for which a segment's sums are worth their way through memory.
const SEGMENT_PIXELS: usize = 512;
/// Sums that one task adds up over all segments.
const SUMS: usize = 1 << 13;
/// Columns for which a block's gradients are worth arranging.
const RANGE_COLUMNS: usize = 256;

/// The gradient of the weight from the input and the output's gradient, both in their natural order.
///
/// How the sum over the batch is cut into segments depends on the shape alone, and they are added in their
/// order, so that it is bit-equal for any number of threads.
pub(in super::super) fn gradient<R: Real>(isa: Isa, extent: &Extent, input: &[R], grad: &[R]) -> Vec<R> {
    let Extent { groups, outputs, .. } = *extent;
    let input = phases(isa, extent, input, 0);
    let columns = input.columns.len();
    let width = width(outputs);
    let pixels = pixels(extent, input.pitch);
    let cut = Cut::new(extent, columns, groups * outputs.div_ceil(width));

    let size = columns * width;
    let segments = cut.segments.len();
    let fill = |partial: &mut [MaybeUninit<R>]| {
        let mut tasks = Vec::new();
        for (index, to) in partial.chunks_mut(size).enumerate() {
            let (block, chunks) = (index / segments, &cut.segments[index % segments]);
            for (range, to) in to.chunks_mut(cut.range * width).enumerate() {
                let columns = &input.columns[range * cut.range..][..to.len() / width];
                let (input, pixels) = (&input, &pixels);
                tasks.push(OuterTask { extent, input, grad, pixels, width, block, chunks, columns, to });
            }
        }
        run_all(isa, extent.work(), tasks);
    };
    // SAFETY: the tasks have all of it between them, and each clears its part before anything else.
    let mut partial: Vec<R> = unsafe { vec_written_by(cut.blocks * segments * size, fill) };

    let (mut sums, work) = (Vec::new(), 8 * partial.len());
    for block in partial.chunks_mut(segments * size) {
        let (to, from) = block.split_at_mut(size);
        let parts = to.chunks_mut(SUMS).enumerate();
        sums.extend(parts.map(|(index, to)| Sum { size, first: index * SUMS, from, to }));
    }
    run_all(isa, work, sums);

    let mut result = vec![R::default(); groups * outputs * columns];
    let rows = split_channels(&mut result, columns, outputs, width.min(outputs));
    let blocks = rows.into_iter().zip(partial.chunks(segments * size));
    let joins = blocks.map(|((_, to), from)| Join { width, columns, from: &from[..size], to }).collect();
    run_all(isa, 8 * cut.blocks * size, joins);
    result
}

/// The width with the fewest lanes that no channel fills.
fn width(outputs: usize) -> usize {
    // Of equal ones, the first: the widest.
    WIDTHS.into_iter().min_by_key(|width| outputs.next_multiple_of(*width)).unwrap_or(WIDTHS[0])
}

/// Where the first tap of the first channel meets each output pixel.
fn pixels(extent: &Extent, pitch: usize) -> Vec<usize> {
    let [height, width] = extent.axes.map(|axis| axis.output);
    (0..height).flat_map(|y| (0..width).map(move |x| y * pitch + x)).collect()
}

/// Some pixels of one image, or all of several images.
struct Chunk {
    image: usize,
    images: usize,
    first: usize,
    count: usize,
}

/// How the work is cut, by the shape alone.
struct Cut {
    /// Blocks of output channels.
    blocks: usize,
    /// Columns of a task.
    range: usize,
    segments: Vec<Vec<Chunk>>,
}

impl Cut {
    fn new(extent: &Extent, columns: usize, blocks: usize) -> Self {
        let ranges = (columns / RANGE_COLUMNS).clamp(1, TASKS.div_ceil(blocks));
        let pixels = extent.batch * extent.output_plane();
        let wanted = (pixels / SEGMENT_PIXELS).clamp(1, TASKS.div_ceil(blocks * ranges));
        let mut chunks = chunks(extent.batch, extent.output_plane());
        let each = chunks.len().div_ceil(wanted);
        let mut segments = Vec::new();
        while !chunks.is_empty() {
            let rest = chunks.split_off(each.min(chunks.len()));
            segments.push(std::mem::replace(&mut chunks, rest));
        }
        Self { blocks, range: columns.div_ceil(ranges), segments }
    }
}

fn chunks(batch: usize, plane: usize) -> Vec<Chunk> {
    let images = PIXELS / plane;
    if images > 1 {
        let chunk = |image| Chunk { image, images: images.min(batch - image), first: 0, count: plane };
        return (0..batch).step_by(images).map(chunk).collect();
    }
    let count = plane.div_ceil(plane.div_ceil(PIXELS));
    let chunk = |image, first| Chunk { image, images: 1, first, count: count.min(plane - first) };
    (0..batch).flat_map(|image| (0..plane).step_by(count).map(move |first| chunk(image, first))).collect()
}

/// One block of output channels and a range of columns, over one segment of the batch's pixels.
struct OuterTask<'a, R: Real> {
    extent: &'a Extent,
    input: &'a Phases<'a, R>,
    grad: &'a [R],
    pixels: &'a [usize],
    width: usize,
    /// Counted through all groups.
    block: usize,
    chunks: &'a [Chunk],
    columns: &'a [usize],
    /// `[column][width]`
    to: &'a mut [MaybeUninit<R>],
}

impl<R: Real> Work<R> for OuterTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(mut self, lanes: L) {
        let to = write_zeros(std::mem::take(&mut self.to));
        let mut panel = vec![R::default(); PIXELS * self.width];
        for chunk in self.chunks {
            self.arrange(lanes, chunk, &mut panel);
            let part = Part { lanes, task: &self, chunk, panel: &panel };
            // As many sums as the registers hold beside the factors.
            match self.width / L::LANES {
                4 if L::REGISTERS >= 32 => part.run::<4, 6, 3>(to),
                2 if L::REGISTERS >= 32 => part.run::<2, 8, 4>(to),
                1 if L::REGISTERS >= 32 => part.run::<1, 10, 5>(to),
                _ => part.run::<2, 6, 3>(to),
            }
        }
    }
}

impl<R: Real> OuterTask<'_, R> {
    /// The group, the first output channel in it, and how many there are.
    fn channels(&self) -> (usize, usize, usize) {
        let per_group = self.extent.outputs.div_ceil(self.width);
        let first = self.block % per_group * self.width;
        (self.block / per_group, first, self.width.min(self.extent.outputs - first))
    }

    /// Writes the gradients of a chunk as `[pixel][width]`; what no channel fills stays zero.
    #[inline(always)]
    fn arrange<L: Lanes<Real = R>>(&self, lanes: L, chunk: &Chunk, panel: &mut [R]) {
        let (group, first, count) = self.channels();
        let Extent { groups, outputs, .. } = *self.extent;
        let plane = self.extent.output_plane();
        for image in 0..chunk.images {
            let channel = ((chunk.image + image) * groups + group) * outputs + first;
            let from = &self.grad[channel * plane + chunk.first..];
            let to = &mut panel[image * chunk.count * self.width..];
            transposed(lanes, [count, chunk.count], from, plane, to, self.width);
        }
    }
}

/// Writes rows as columns: `rows` of them, `columns` long, `pitch` apart in `from`, into `to`, whose rows
/// are `width` apart.
#[inline(always)]
pub(in super::super) fn transposed<L: Lanes>(
    lanes: L,
    [rows, columns]: [usize; 2],
    from: &[L::Real],
    pitch: usize,
    to: &mut [L::Real],
    width: usize,
) {
    assert!((rows - 1) * pitch + columns <= from.len() && (columns - 1) * width + rows <= to.len());
    let square = if columns < L::LANES { 0 } else { rows - rows % L::LANES };
    for row in (0..square).step_by(L::LANES) {
        for column in (0..columns).step_by(L::LANES) {
            // The last square ends with the last column, and does some of its neighbour's work again.
            let column = column.min(columns - L::LANES);
            // SAFETY: `row + LANES <= rows` and `column + LANES <= columns`, which the slices hold.
            unsafe {
                let from = from.as_ptr().add(row * pitch + column);
                lanes.transpose(from, pitch, to.as_mut_ptr().add(column * width + row), width);
            }
        }
    }
    for row in square..rows {
        let to = to[row..].iter_mut().step_by(width);
        to.zip(&from[row * pitch..][..columns]).for_each(|(to, from)| *to = *from);
    }
}

/// One chunk of pixels of a task.
struct Part<'a, L: Lanes> {
    lanes: L,
    task: &'a OuterTask<'a, L::Real>,
    chunk: &'a Chunk,
    panel: &'a [L::Real],
}

impl<L: Lanes> Part<'_, L> {
    /// Adds the outer products to `to`, `K` columns by `V` vectors at a time, `H` columns where few are left.
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

    /// Adds to the sums of up to `K` columns and of `V` vectors of channels from `first` on.
    #[inline(always)]
    fn tile<const V: usize, const K: usize>(&self, first: usize, columns: &[usize], to: &mut [L::Real]) {
        let (lanes, width) = (self.lanes, self.task.width);
        let mut tile = RegisterTile::<L, K, V>::zeros(lanes);
        for (sums, to) in tile.sums.iter_mut().zip(to.chunks_exact(width)) {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `first` and the lanes of `V` vectors are within the width.
                *sum = unsafe { lanes.load(to.as_ptr().add(first + v * L::LANES)) };
            }
        }
        let columns: [usize; K] = std::array::from_fn(|k| columns[k.min(columns.len() - 1)]);
        self.pixels(first, columns, &mut tile);
        for (sums, to) in tile.sums.iter().zip(to.chunks_exact_mut(width)) {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe { lanes.store(to.as_mut_ptr().add(first + v * L::LANES), *sum) };
            }
        }
    }

    /// Adds the outer product of every pixel of the chunk.
    #[inline(always)]
    fn pixels<const V: usize, const K: usize>(
        &self,
        first: usize,
        columns: [usize; K],
        tile: &mut RegisterTile<L, K, V>,
    ) {
        let OuterTask { extent, input, width, .. } = *self.task;
        let chunk = self.chunk;
        let (group, ..) = self.task.channels();
        let pixels = &self.task.pixels[chunk.first..][..chunk.count];
        assert!(self.panel.len() >= chunk.images * chunk.count * width);
        let mut grads =
            Columns { start: self.panel[first..].as_ptr(), vectors: consecutive(L::LANES), step: width };
        for image in chunk.image..chunk.image + chunk.images {
            let channel = (image * extent.groups + group) * extent.inputs;
            let image = &input.data[channel * input.channel..][..extent.inputs * input.channel];
            assert!(columns.iter().all(|column| *column < image.len()));
            for &pixel in pixels {
                let inputs = Rows { start: image.as_ptr().wrapping_add(pixel), rows: columns, step: 0 };
                // SAFETY: a row of the panel has `width` numbers, of which `V` vectors from `first` on; under
                // each tap, the padded input of a group has a number for every output pixel.
                unsafe { tile.add_outer_product::<0>(inputs, grads) };
                grads.start = grads.start.wrapping_add(width);
            }
        }
    }
}

/// Some sums of a block's first segment, to which those of all others are added in their order.
struct Sum<'a, R> {
    /// Numbers of a segment.
    size: usize,
    /// In each segment, that of the first sum.
    first: usize,
    /// The other segments.
    from: &'a [R],
    to: &'a mut [R],
}

impl<R: Real> Work<R> for Sum<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        let Self { size, first, from, to } = self;
        for segment in from.chunks_exact(size) {
            to.iter_mut().zip(&segment[first..]).for_each(|(sum, x)| *sum += *x);
        }
    }
}

/// The sums of one block of output channels, to be put in their place.
struct Join<'a, R> {
    width: usize,
    columns: usize,
    /// `[column][width]`
    from: &'a [R],
    /// `[output channel][column]`
    to: &'a mut [R],
}

impl<R: Real> Work<R> for Join<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Self { width, columns, from, to } = self;
        transposed(lanes, [columns, to.len() / columns], from, width, to, columns);
    }
}
