//! The gradient of the input as a matrix product with a fused col2im.
//!
//! The gradients of some output pixels are multiplied with the weights of all taps, in vectors of input channels, and
//! the products are added to the input positions that the taps read. Each output pixel is multiplied once with each
//! weight, and padding is not multiplied. With a stride, or with a large kernel on a small image, a direct convolution
//! with the flipped weight would multiply many zeros: those between strided pixels and those around the image.
//!
//! A block is 16, 32 or 64 input channels (`width`) of a group. The columns of a block are `[tap][input channel]`. A
//! panel is 64 of these columns, for all output channels. The padded image is `[y][x][input channel]` of a block, with
//! all positions that taps read in the forward pass, including padding.

use std::mem::MaybeUninit;

use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::memory::{AlignedVec, vec_written_by, write_zeros};
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Task};

use super::extent::Extent;
use super::tasks::{run_tasks, split_channels};
use super::weight::outer::transpose;

/// The candidates for the number of input channels in a block.
const BLOCK_WIDTHS: [usize; 3] = [64, 32, 16];
/// The number of columns in a panel of weights.
const PANEL: usize = 64;
/// The number of output channels that are summed before the sums are added to the padded image. This many rows of a
/// panel, one for each output channel, stay in the L1 cache.
const CHUNK_CHANNELS: usize = 64;
/// The number of pixels in a register tile.
const TILE_PIXELS: usize = 6;
/// The maximum number of elements of a padded image. It leaves room for panels in the L2 cache.
const MAX_PADDED_ELEMENTS: usize = 1 << 18;

/// The sizes that the algorithm uses for one convolution.
pub(super) struct Scatter {
    /// The number of input channels in a block.
    width: usize,
    /// `[height, width]` of the padded image.
    padded_size: [usize; 2],
}

impl Scatter {
    /// Returns `None` if a different algorithm needs fewer products, if the padded image is too large, or if there are
    /// too few channels or pixels to fill the tiles.
    pub fn of(extent: &Extent) -> Option<Self> {
        let [y_axis, x_axis] = &extent.axes;
        let strides = y_axis.stride * x_axis.stride;
        let fewer_products = match strides {
            // The flipped convolution computes products for every input pixel, this algorithm for every output pixel.
            // Kernels of up to nine taps are left to the flipped convolution, which can use Winograd.
            1 => extent.taps() > 9 && 2 * extent.input_plane() >= 3 * extent.output_plane(),
            _ => extent.taps() >= strides,
        };
        let padded_size = extent.axes.map(|axis| axis.padded_size());
        let fits = |width: &usize| padded_size[0] * padded_size[1] * width <= MAX_PADDED_ELEMENTS;
        let width = BLOCK_WIDTHS
            .into_iter()
            .filter(fits)
            .min_by_key(|width| extent.group_in_channels.next_multiple_of(*width))?;
        let fills_lanes =
            4 * extent.group_in_channels >= 3 * extent.group_in_channels.next_multiple_of(width);
        let fills_tiles = extent.group_out_channels >= 16 && extent.output_plane() >= TILE_PIXELS;
        (fewer_products && fills_lanes && fills_tiles).then_some(Self { width, padded_size })
    }

    /// Returns the gradient of the input. `grad` is the gradient of the output. Both are
    /// `[batch, channels, height, width]`.
    pub fn gradient<R: Real>(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Vec<R> {
        let channels = extent.groups * extent.group_in_channels;
        let plane = extent.input_plane();
        let panels = self.panels(extent, weight);
        let pixels = self.pixel_offsets(extent);
        let columns = self.column_offsets(extent);
        let fill = |result: &mut [MaybeUninit<R>]| {
            let tasks = split_channels(
                result,
                plane,
                extent.group_in_channels,
                self.width.min(extent.group_in_channels),
            );
            let tasks = tasks.into_iter().map(|(first, result)| {
                let pixels = &pixels;
                let columns = &columns;
                let panels = &panels;
                ScatterTask { scatter: self, extent, pixels, columns, panels, grad, first, result }
            });
            run_tasks(isa, extent.work(), tasks.collect());
        };
        // SAFETY: the tasks' parts cover the whole result, and each task zeroes its part first.
        unsafe { vec_written_by(extent.batch * channels * plane, fill) }
    }

    /// Returns, for each output pixel, the offset in the padded image of the position that the first tap reads.
    fn pixel_offsets(&self, extent: &Extent) -> Vec<usize> {
        let ([height, width], [y_axis, x_axis]) = (extent.axes.map(|axis| axis.output), &extent.axes);
        let at =
            |y: usize, x: usize| (y * y_axis.stride * self.padded_size[1] + x * x_axis.stride) * self.width;
        (0..height).flat_map(|y| (0..width).map(move |x| at(y, x))).collect()
    }

    /// Returns the offset of each column in the padded image: the distance from the first channel at the first tap to
    /// the column's channel at the column's tap.
    fn column_offsets(&self, extent: &Extent) -> Vec<usize> {
        let [y_axis, x_axis] = &extent.axes;
        let taps = (0..y_axis.kernel).flat_map(|i| (0..x_axis.kernel).map(move |j| [i, j]));
        let offsets = taps.map(|[i, j]| i * y_axis.dilation * self.padded_size[1] + j * x_axis.dilation);
        offsets.flat_map(|offset| offset * self.width..(offset + 1) * self.width).collect()
    }

    /// Returns the number of panels of a block.
    fn panel_count(&self, extent: &Extent) -> usize {
        (extent.taps() * self.width).div_ceil(PANEL)
    }

    /// Packs the weight as `[group, block][panel][output channel][column]`. Columns without a channel are zero.
    fn panels<R: Real>(&self, extent: &Extent, weight: &[R]) -> AlignedVec<R> {
        let Extent { groups, group_in_channels, group_out_channels, .. } = *extent;
        let taps = extent.taps();
        let blocks = group_in_channels.div_ceil(self.width);
        let count = self.panel_count(extent);
        let size = group_out_channels * PANEL;
        let mut panels = AlignedVec::zeros(groups * blocks * count * size);
        for_each_chunk(&mut panels, size, |index, panel| {
            let block = index / count;
            let first = index % count * PANEL;
            let group = block / blocks;
            let channel = block % blocks * self.width;
            for (output, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                let filter = &weight[(group * group_out_channels + output) * group_in_channels * taps..]
                    [..group_in_channels * taps];
                for (column, packed) in (first..).zip(row) {
                    let tap = column / self.width;
                    let channel = channel + column % self.width;
                    if tap < taps && channel < group_in_channels {
                        *packed = filter[channel * taps + tap];
                    }
                }
            }
        });
        panels
    }
}

/// The task that computes the gradient of one image in one block of input channels.
struct ScatterTask<'a, R> {
    scatter: &'a Scatter,
    extent: &'a Extent,
    /// See [`Scatter::pixel_offsets`].
    pixels: &'a [usize],
    /// See [`Scatter::column_offsets`].
    columns: &'a [usize],
    panels: &'a [R],
    grad: &'a [R],
    /// The index of the first channel, counted across the batch.
    first: usize,
    result: &'a mut [MaybeUninit<R>],
}

impl<R: Real> Task<R> for ScatterTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Scatter { width, padded_size, .. } = *self.scatter;
        let mut padded = AlignedVec::zeros(padded_size[0] * padded_size[1] * width);
        // With these tiles, the sums leave some registers free for the factors.
        match PANEL / L::LANES {
            4 if L::REGISTERS >= 32 => self.add_products::<L, 4>(lanes, &mut padded),
            _ => self.add_products::<L, 2>(lanes, &mut padded),
        }
        self.crop(lanes, &padded);
    }
}

impl<R: Real> ScatterTask<'_, R> {
    /// Adds the products of every pixel and every tap to the padded image `[y][x][input channel]`.
    #[inline(always)]
    fn add_products<L: Lanes<Real = R>, const V: usize>(&self, lanes: L, padded: &mut [R]) {
        let Extent { group_in_channels, group_out_channels, .. } = *self.extent;
        let plane = self.extent.output_plane();
        let blocks = group_in_channels.div_ceil(self.scatter.width);
        let group = self.first / group_in_channels;
        let channel = self.first % group_in_channels;
        let grad = &self.grad[group * group_out_channels * plane..][..group_out_channels * plane];
        let block = group % self.extent.groups * blocks + channel / self.scatter.width;
        let size = self.scatter.panel_count(self.extent) * group_out_channels * PANEL;
        let panels = &self.panels[block * size..][..size];
        for first in (0..group_out_channels).step_by(CHUNK_CHANNELS) {
            let count = CHUNK_CHANNELS.min(group_out_channels - first);
            let grad = &grad[first * plane..][..count * plane];
            for (panel, columns) in
                panels.chunks_exact(group_out_channels * PANEL).zip(self.columns.chunks(PANEL))
            {
                let panel = &panel[first * PANEL..][..count * PANEL];
                for column in (0..columns.len()).step_by(V * L::LANES) {
                    let kernel =
                        ScatterKernel { lanes, plane, pixels: self.pixels, grad, panel: &panel[column..] };
                    kernel.run::<V>(&columns[column..], padded);
                }
            }
        }
    }

    /// Copies the image without its padding to the planes of the result.
    #[inline(always)]
    fn crop<L: Lanes<Real = R>>(self, lanes: L, padded: &[R]) {
        let Scatter { width, padded_size: [rows, pitch], .. } = *self.scatter;
        let ([y_axis, x_axis], plane) = (&self.extent.axes, self.extent.input_plane());
        let result = write_zeros(self.result);
        let channels = result.len() / plane;
        let count = x_axis.input.min(pitch.saturating_sub(x_axis.padding));
        if count == 0 {
            return;
        }
        for row in 0..y_axis.input.min(rows.saturating_sub(y_axis.padding)) {
            let from = &padded[((row + y_axis.padding) * pitch + x_axis.padding) * width..];
            let to = &mut result[row * x_axis.input..];
            transpose(lanes, [count, channels], from, width, to, plane);
        }
    }
}

/// The micro-kernel that multiplies the gradients of a chunk of output channels by some columns of a panel.
struct ScatterKernel<'a, L: Lanes> {
    lanes: L,
    /// The number of output pixels of an image.
    plane: usize,
    /// See [`Scatter::pixel_offsets`].
    pixels: &'a [usize],
    /// `[output channel][pixel]`
    grad: &'a [L::Real],
    /// The panel, beginning at the first of the columns that the micro-kernel multiplies. The rows, one for each output
    /// channel, are [`PANEL`] numbers apart.
    panel: &'a [L::Real],
}

impl<L: Lanes> ScatterKernel<'_, L> {
    /// Adds the products of all pixels to the padded image, for the first `V` vectors of `columns`, or for all of them
    /// if there are fewer.
    #[inline(always)]
    fn run<const V: usize>(&self, columns: &[usize], padded: &mut [L::Real]) {
        let vectors = V.min(columns.len().div_ceil(L::LANES));
        let mut offsets = [columns[0]; V];
        for (v, offset) in offsets[..vectors].iter_mut().enumerate() {
            *offset = columns[v * L::LANES];
        }
        for first in (0..self.plane).step_by(TILE_PIXELS) {
            // The last tile overlaps the tile before it.
            let start = first.min(self.plane - TILE_PIXELS);
            let sums = self.tile::<V>(start);
            for (pixel, sums) in self.pixels[start..start + TILE_PIXELS].iter().zip(&sums).skip(first - start)
            {
                for (offset, sums) in offsets[..vectors].iter().zip(sums) {
                    let to = padded[pixel + offset..][..L::LANES].as_mut_ptr();
                    // SAFETY: `to` has `LANES` numbers, and `sums` has `MAX_LANES`, which is at least `LANES`.
                    unsafe {
                        self.lanes
                            .store(to, self.lanes.add(self.lanes.load(to), self.lanes.load(sums.as_ptr())))
                    };
                }
            }
        }
    }

    /// Returns the products of the pixels `start..start + TILE_PIXELS`, summed over the output channels.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
    fn tile<const V: usize>(&self, start: usize) -> [[[L::Real; MAX_LANES]; V]; TILE_PIXELS] {
        let lanes = self.lanes;
        let group_out_channels = self.grad.len() / self.plane;
        assert!(start + TILE_PIXELS <= self.plane);
        assert!((group_out_channels - 1) * PANEL + V * L::LANES <= self.panel.len());
        let a = Rows { start: self.grad[start..].as_ptr(), rows: consecutive(1), step: self.plane };
        let b = Columns { start: self.panel.as_ptr(), vectors: consecutive(L::LANES), step: PANEL };
        let mut tile = RegisterTile::<L, TILE_PIXELS, V>::zeros(lanes);
        // SAFETY: as asserted above, every plane has the pixels `start..start + TILE_PIXELS`, and every row of the
        // panel has `V` vectors.
        unsafe { tile.add_product::<0>(group_out_channels, a, b) };
        // Copies the sums to memory in loops that are small enough to be unrolled. In a longer loop, the sums would not
        // stay in registers.
        let mut values = [[[L::Real::default(); MAX_LANES]; V]; TILE_PIXELS];
        for k in 0..TILE_PIXELS {
            for v in 0..V {
                // SAFETY: a vector has at most `MAX_LANES` lanes, the length of the array.
                unsafe { lanes.store(values[k][v].as_mut_ptr(), tile.sums[k][v]) };
            }
        }
        values
    }
}
