//! The gradient of the input as a product of matrices whose results are added where they belong: the output's
//! gradients of some pixels times the weights of vectors of input channels under every tap.
//!
//! A pixel is multiplied once with each weight and no zero around the image is: where a stride or a large kernel on
//! a small image leaves most of a convolution to zeros, this is a half or less of its products.

use super::extent::{Axis, Extent};
use super::tasks::{run_all, split_channels};
use super::weight::outer::transposed;
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::memory::{AlignedVec, vec_written_by, write_zeros};
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Work};
use std::mem::MaybeUninit;

/// Input channels of a block.
const WIDTHS: [usize; 3] = [64, 32, 16];
/// Columns, input channels under a tap, of a panel of weights.
const PANEL: usize = 64;
/// Output channels after which sums are added to the image: so many rows of a panel stay in the first cache.
const OUTPUTS: usize = 64;
/// Pixels whose sums are in registers at once.
const PIXELS: usize = 6;
/// Numbers of a block's image that leave the second cache room for panels.
const IMAGE: usize = 1 << 18;

/// How the image of one block of input channels is cut and where its parts lie.
pub(super) struct Scatter {
    /// Input channels of a block.
    width: usize,
    /// Rows and columns that the taps of all output pixels reach, padding included.
    reach: [usize; 2],
}

impl Scatter {
    /// `None` where another way has fewer products, or none of its own.
    pub fn of(extent: &Extent) -> Option<Self> {
        let [down, right] = &extent.axes;
        let strides = down.stride * right.stride;
        let spreads = match strides {
            // Winograd's ways are for 3×3.
            1 => extent.taps() > 9 && 2 * extent.input_plane() >= 3 * extent.output_plane(),
            _ => extent.taps() >= strides,
        };
        let reach = extent.axes.map(|axis| reach(&axis));
        let fits = |width: &usize| reach[0] * reach[1] * width <= IMAGE;
        let width =
            WIDTHS.into_iter().filter(fits).min_by_key(|width| extent.inputs.next_multiple_of(*width))?;
        let filled = 4 * extent.inputs >= 3 * extent.inputs.next_multiple_of(width);
        let enough = extent.outputs >= 16 && extent.output_plane() >= PIXELS;
        (spreads && filled && enough).then_some(Self { width, reach })
    }

    /// The gradient of the input, `[batch, channels, height, width]`, as is `grad`, that of the output.
    pub fn gradient<R: Real>(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Vec<R> {
        let channels = extent.groups * extent.inputs;
        let plane = extent.input_plane();
        let panels = self.panels(extent, weight);
        let (pixels, columns) = (self.pixels(extent), self.columns(extent));
        let fill = |to: &mut [MaybeUninit<R>]| {
            let tasks = split_channels(to, plane, extent.inputs, self.width.min(extent.inputs));
            let tasks = tasks.into_iter().map(|(first, to)| {
                let (pixels, columns, panels) = (&pixels, &columns, &panels);
                ScatterTask { scatter: self, extent, pixels, columns, panels, grad, first, to }
            });
            run_all(isa, extent.work(), tasks.collect());
        };
        // SAFETY: the tasks have all of the result between them, and each clears its part before anything else.
        unsafe { vec_written_by(extent.batch * channels * plane, fill) }
    }

    /// Where the first tap meets each output pixel.
    fn pixels(&self, extent: &Extent) -> Vec<usize> {
        let ([height, width], [down, right]) = (extent.axes.map(|axis| axis.output), &extent.axes);
        let at = |y: usize, x: usize| (y * down.stride * self.reach[1] + x * right.stride) * self.width;
        (0..height).flat_map(|y| (0..width).map(move |x| at(y, x))).collect()
    }

    /// How far from the first tap's the place of each column is.
    fn columns(&self, extent: &Extent) -> Vec<usize> {
        let [down, right] = &extent.axes;
        let taps = (0..down.kernel).flat_map(|i| (0..right.kernel).map(move |j| [i, j]));
        let places = taps.map(|[i, j]| i * down.dilation * self.reach[1] + j * right.dilation);
        places.flat_map(|place| place * self.width..(place + 1) * self.width).collect()
    }

    /// Panels of a block.
    fn count(&self, extent: &Extent) -> usize {
        (extent.taps() * self.width).div_ceil(PANEL)
    }

    /// `[group, block][panel][output channel][column]`; what no channel fills stays zero.
    fn panels<R: Real>(&self, extent: &Extent, weight: &[R]) -> AlignedVec<R> {
        let Extent { groups, inputs, outputs, .. } = *extent;
        let (taps, blocks) = (extent.taps(), inputs.div_ceil(self.width));
        let (count, size) = (self.count(extent), outputs * PANEL);
        let mut panels = AlignedVec::zeros(groups * blocks * count * size);
        for_each_chunk(&mut panels, size, |index, panel| {
            let (block, first) = (index / count, index % count * PANEL);
            let (group, channel) = (block / blocks, block % blocks * self.width);
            for (output, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                let from = &weight[(group * outputs + output) * inputs * taps..][..inputs * taps];
                for (column, to) in (first..).zip(to) {
                    let (tap, channel) = (column / self.width, channel + column % self.width);
                    if tap < taps && channel < inputs {
                        *to = from[channel * taps + tap];
                    }
                }
            }
        });
        panels
    }
}

fn reach(axis: &Axis) -> usize {
    (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1
}

/// One block of input channels of one image.
struct ScatterTask<'a, R> {
    scatter: &'a Scatter,
    extent: &'a Extent,
    pixels: &'a [usize],
    columns: &'a [usize],
    panels: &'a [R],
    grad: &'a [R],
    /// The number of its first channel in the batch.
    first: usize,
    to: &'a mut [MaybeUninit<R>],
}

impl<R: Real> Work<R> for ScatterTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Scatter { width, reach, .. } = *self.scatter;
        let mut image = AlignedVec::zeros(reach[0] * reach[1] * width);
        // As many sums as the registers hold beside the factors.
        match PANEL / L::LANES {
            4 if L::REGISTERS >= 32 => self.add::<L, 4>(lanes, &mut image),
            _ => self.add::<L, 2>(lanes, &mut image),
        }
        self.crop(lanes, &image);
    }
}

impl<R: Real> ScatterTask<'_, R> {
    /// Adds the products of every pixel and every tap to the image, `[row][column][channel]`.
    #[inline(always)]
    fn add<L: Lanes<Real = R>, const V: usize>(&self, lanes: L, image: &mut [R]) {
        let Extent { inputs, outputs, .. } = *self.extent;
        let (plane, blocks) = (self.extent.output_plane(), inputs.div_ceil(self.scatter.width));
        let (group, channel) = (self.first / inputs, self.first % inputs);
        let grad = &self.grad[group * outputs * plane..][..outputs * plane];
        let block = group % self.extent.groups * blocks + channel / self.scatter.width;
        let size = self.scatter.count(self.extent) * outputs * PANEL;
        let panels = &self.panels[block * size..][..size];
        for first in (0..outputs).step_by(OUTPUTS) {
            let count = OUTPUTS.min(outputs - first);
            let grad = &grad[first * plane..][..count * plane];
            for (panel, columns) in panels.chunks_exact(outputs * PANEL).zip(self.columns.chunks(PANEL)) {
                let panel = &panel[first * PANEL..][..count * PANEL];
                for column in (0..columns.len()).step_by(V * L::LANES) {
                    let part = Part { lanes, plane, pixels: self.pixels, grad, panel: &panel[column..] };
                    part.run::<V>(&columns[column..], image);
                }
            }
        }
    }

    /// Copies what is no padding from the image to the channels' planes.
    #[inline(always)]
    fn crop<L: Lanes<Real = R>>(self, lanes: L, image: &[R]) {
        let Scatter { width, reach: [rows, pitch], .. } = *self.scatter;
        let ([down, right], plane) = (&self.extent.axes, self.extent.input_plane());
        let to = write_zeros(self.to);
        let channels = to.len() / plane;
        let count = right.input.min(pitch.saturating_sub(right.padding));
        if count == 0 {
            return;
        }
        for row in 0..down.input.min(rows.saturating_sub(down.padding)) {
            let from = &image[((row + down.padding) * pitch + right.padding) * width..];
            let to = &mut to[row * right.input..];
            transposed(lanes, [count, channels], from, width, to, plane);
        }
    }
}

/// The products of some output channels with some columns of a panel.
struct Part<'a, L: Lanes> {
    lanes: L,
    plane: usize,
    pixels: &'a [usize],
    /// `[output channel][pixel]`
    grad: &'a [L::Real],
    /// From the first of the columns on; rows of [`PANEL`].
    panel: &'a [L::Real],
}

impl<L: Lanes> Part<'_, L> {
    /// Adds the products of all pixels to the image, at the places of `columns`; `V` vectors of them, or as many as
    /// are left.
    #[inline(always)]
    fn run<const V: usize>(&self, columns: &[usize], image: &mut [L::Real]) {
        let vectors = V.min(columns.len().div_ceil(L::LANES));
        let mut places = [columns[0]; V];
        for (v, place) in places[..vectors].iter_mut().enumerate() {
            *place = columns[v * L::LANES];
        }
        for first in (0..self.plane).step_by(PIXELS) {
            // The last ones begin among pixels that are done.
            let start = first.min(self.plane - PIXELS);
            let sums = self.tile::<V>(start);
            for (pixel, sums) in self.pixels[start..start + PIXELS].iter().zip(&sums).skip(first - start) {
                for (place, sums) in places[..vectors].iter().zip(sums) {
                    let to = image[pixel + place..][..L::LANES].as_mut_ptr();
                    // SAFETY: so many numbers of the image, and no vector has more than the sums have room for.
                    unsafe {
                        self.lanes
                            .store(to, self.lanes.add(self.lanes.load(to), self.lanes.load(sums.as_ptr())))
                    };
                }
            }
        }
    }

    /// The products of the pixels from `start` on, summed over the output channels.
    #[inline(always)]
    fn tile<const V: usize>(&self, start: usize) -> [[[L::Real; MAX_LANES]; V]; PIXELS] {
        let lanes = self.lanes;
        let outputs = self.grad.len() / self.plane;
        assert!(start + PIXELS <= self.plane);
        assert!((outputs - 1) * PANEL + V * L::LANES <= self.panel.len());
        let a = Rows { start: self.grad[start..].as_ptr(), rows: consecutive(1), step: self.plane };
        let b = Columns { start: self.panel.as_ptr(), vectors: consecutive(L::LANES), step: PANEL };
        let mut tile = RegisterTile::<L, PIXELS, V>::zeros(lanes);
        // SAFETY: every plane has `PIXELS` numbers from `start` on, and every row of the panel `V` vectors, as asserted
        // above.
        unsafe { tile.add_product::<0>(outputs, a, b) };
        // Through memory, in loops so small that they are unrolled and the sums stay in registers.
        let mut values = [[[L::Real::default(); MAX_LANES]; V]; PIXELS];
        for k in 0..PIXELS {
            for v in 0..V {
                // SAFETY: no vector has more than `MAX_LANES` lanes.
                unsafe { lanes.store(values[k][v].as_mut_ptr(), tile.sums[k][v]) };
            }
        }
        values
    }
}
