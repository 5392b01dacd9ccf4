//! Some blocks of the input that a task reads, copied to where every tap is a fixed offset, and the pixels of
//! a row are neighbours whatever the stride.

use super::micro::{Tap, pixel_step};
use super::plan::Patch;
use crate::blocked::conv::Input;
use crate::conv::{ConvGeometry, ConvShape};
use crate::simd::Simd;
use std::ops::Range;

/// `[block of channels][row phases][planes][rows][pitch][channels of a block]`. The rows that one row of the kernel reads
/// (every `stride`-th of the input) lie together, a phase; so do the columns of one, a plane.
#[derive(Clone)]
pub(super) struct Tile {
    /// The row phases that some tap reads, ascending.
    phases: Vec<usize>,
    /// The column, of those that the kernel reaches, which each plane starts with.
    planes: Vec<usize>,
    rows: usize,
    /// From a row of pixels to the next.
    pub pitch: usize,
}

/// The output columns below which each column of the kernel has a plane of its own of just the pixels that it
/// reads, so that a register tile goes on across the ends of rows.
const SHORT_ROW: usize = 5;

/// The phases of rows (columns with `axis` 1) that some tap reads, ascending.
fn phases(shape: &ConvShape, axis: usize) -> Vec<usize> {
    let (stride, dilation) = (shape.geometry.stride[axis], shape.geometry.dilation[axis]);
    let mut phases: Vec<_> = (0..shape.kernel[axis].min(stride)).map(|k| k * dilation % stride).collect();
    phases.sort_unstable();
    phases.dedup();
    phases
}

impl Tile {
    /// For patches of at most `rows` rows and `columns` columns.
    pub fn new(shape: &ConvShape, [rows, columns]: [usize; 2]) -> Self {
        let reach = |axis: usize| {
            (shape.kernel[axis] - 1) * shape.geometry.dilation[axis] / shape.geometry.stride[axis]
        };
        let apart = columns < SHORT_ROW && columns == shape.output[1];
        let (planes, reach_x) = match apart {
            true => ((0..shape.kernel[1]).map(|k| k * shape.geometry.dilation[1]).collect(), 0),
            false => (phases(shape, 1), reach(1)),
        };
        let rows = rows.saturating_add(reach(0));
        Self { phases: phases(shape, 0), planes, rows, pitch: columns.saturating_add(reach_x) }
    }

    /// The pixels of a block.
    pub fn pixels(&self) -> usize {
        let sizes = [self.phases.len(), self.rows, self.planes.len(), self.pitch];
        sizes.into_iter().fold(1, usize::saturating_mul)
    }

    /// Every tap of the blocks, of `width` channels, of the input channels `channels`, of whom the first starts
    /// a block.
    pub fn taps(&self, shape: &ConvShape, channels: Range<usize>, width: usize) -> Vec<Tap> {
        let ConvGeometry { stride, dilation, .. } = shape.geometry;
        let index = |of: &[usize], phase: usize| of.iter().position(|p| *p == phase);
        let pixel = |ky: usize, kx: usize| {
            let [y, x] = [ky * dilation[0], kx * dilation[1]];
            let phase = index(&self.phases, y % stride[0]).unwrap_or_default();
            // A plane of its own, or a shift in the plane of its phase.
            let (plane, shift) = match index(&self.planes, x) {
                Some(plane) => (plane, 0),
                None => (index(&self.planes, x % stride[1]).unwrap_or_default(), x / stride[1]),
            };
            ((phase * self.planes.len() + plane) * self.rows + y / stride[0]) * self.pitch + shift
        };
        let mut taps = vec![];
        for (block, first) in channels.clone().step_by(width).enumerate() {
            for (ky, kx) in (0..shape.kernel[0]).flat_map(|ky| (0..shape.kernel[1]).map(move |kx| (ky, kx))) {
                let offset = (block * self.pixels() + pixel(ky, kx)) * width;
                taps.push(Tap { offset, channels: width.min(channels.end - first) });
            }
        }
        taps
    }

    /// Copies what `patch` reads of the block that starts with `channel` to `tile`, zeros where it leaves the
    /// image. Where the input is planes, a block is one channel.
    ///
    /// # Safety
    /// The image and the channel exist; `tile` has room for a block.
    #[inline(always)]
    pub unsafe fn fill<S: Simd>(
        &self,
        simd: S,
        shape: &ConvShape,
        patch: &Patch,
        input: Input<'_>,
        [image, channel]: [usize; 2],
        tile: *mut f32,
    ) {
        let ([height, width], [[top, _], [left, _]]) = (shape.input, shape.geometry.padding);
        let [stride_y, stride] = shape.geometry.stride;
        let step = pixel_step::<S>(matches!(input, Input::Planes(_)));
        let mut to = tile;
        for phase in &self.phases {
            for plane in &self.planes {
                // The pixels of the plane's rows that lie in the image.
                let first = patch.x * stride + plane;
                let start = left.saturating_sub(first).div_ceil(stride);
                let end = (width + left).saturating_sub(first).div_ceil(stride).min(self.pitch);
                for row in 0..self.rows {
                    let y = ((patch.y + row) * stride_y + phase).wrapping_sub(top);
                    let (start, end) = if y < height && start < end { (start, end) } else { (0, 0) };
                    let at = y.wrapping_mul(width).wrapping_add((first + start * stride).wrapping_sub(left));
                    let copy = Row { to: to.wrapping_add(start * step), pixels: end - start, at, stride };
                    // SAFETY: the row has `pitch` pixels, of which those from `start` to `end` lie in the image.
                    unsafe {
                        zero(simd, to, start * step);
                        zero(simd, to.add(end * step), (self.pitch - end) * step);
                        match input {
                            _ if start == end => {}
                            Input::Blocked(input) => {
                                let blocks = shape.in_channels.div_ceil(S::LANES);
                                let block = (image * blocks + channel / S::LANES) * height * width;
                                copy.vectors(simd, input.as_ptr().add(block * S::LANES));
                            }
                            Input::Planes(input) => {
                                let plane = (image * shape.in_channels + channel) * height * width;
                                copy.floats(simd, input.as_ptr().add(plane));
                            }
                        }
                    }
                    to = to.wrapping_add(self.pitch * step);
                }
            }
        }
    }
}

/// Some pixels of a row, on their way to the tile.
struct Row {
    to: *mut f32,
    pixels: usize,
    /// The first in its plane, and from one to the next.
    at: usize,
    stride: usize,
}

impl Row {
    /// # Safety
    /// `block` has the pixels, the tile room for them.
    #[inline(always)]
    unsafe fn vectors<S: Simd>(&self, simd: S, block: *const f32) {
        for i in 0..self.pixels {
            // SAFETY: the caller's promise.
            unsafe {
                let pixel = simd.load(block.add((self.at + i * self.stride) * S::LANES));
                simd.store(self.to.add(i * S::LANES), pixel);
            }
        }
    }

    /// # Safety
    /// `plane` has the pixels, the tile room for them.
    #[inline(always)]
    unsafe fn floats<S: Simd>(&self, simd: S, plane: *const f32) {
        let mut done = 0;
        // A vector at a time, where what lies between its pixels lies in the plane too.
        while self.stride <= 2 && self.pixels - done > S::LANES {
            let from = plane.wrapping_add(self.at + done * self.stride);
            // SAFETY: a vector's pixels and one more are left, and the caller's promise.
            unsafe {
                let mut pixels = simd.load(from);
                if self.stride == 2 {
                    pixels = simd.deinterleave(pixels, simd.load(from.add(S::LANES)))[0];
                }
                simd.store(self.to.add(done), pixels);
            }
            done += S::LANES;
        }
        for i in done..self.pixels {
            // SAFETY: the caller's promise.
            unsafe { *self.to.add(i) = *plane.add(self.at + i * self.stride) };
        }
    }
}

/// # Safety
/// `to` has room for so many floats.
#[inline(always)]
unsafe fn zero<S: Simd>(simd: S, to: *mut f32, floats: usize) {
    for i in (0..floats).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            match floats - i {
                left if left < S::LANES => simd.store_partial(to.add(i), left, simd.zero()),
                _ => simd.store(to.add(i), simd.zero()),
            }
        }
    }
}
