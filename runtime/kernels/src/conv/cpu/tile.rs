//! The input tile: a copy of the part of the input that a task reads. In a tile, every tap is at a fixed offset, and
//! the inputs of neighboring pixels of an output row are adjacent, for any stride, padding and dilation.
//!
//! The layout is `[channel block][row phase][plane][row][pitch][channel of the block]`:
//!
//! - A *row phase* contains every `stride`-th row of the input. Kernel row `ky` reads the row phase
//!   `ky · dilation % stride`, beginning at row `ky · dilation / stride` of this phase. With *kernel rows*, each kernel
//!   row instead has a phase for itself, whose first row is `ky · dilation`. If the dilation is large, such a tile has
//!   fewer rows.
//! - A *plane* contains every `stride`-th column of a row phase. Kernel column `kx` reads the plane whose first column
//!   is `kx · dilation % stride`, beginning at column `kx · dilation / stride` of this plane. With *column planes*,
//!   each kernel column instead has a plane for itself, whose first column is `kx · dilation`.
//! - The *pitch* is the distance from one row of a plane to the next, in pixels.

use std::ops::Range;

use crate::conv::{ConvGeometry, ConvShape};
use crate::memory::CACHE_LINE_FLOATS;
use crate::simd::Simd;

use super::operand_format::{ChannelRows, Window};
use super::partition::Patch;

/// The maximum number of floats of an input tile. A huge dilation would exceed it.
const MAX_TILE_FLOATS: usize = 1 << 26;

/// One tap of the kernel in one block of input channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// The offset of the element that this tap reads in the block's first channel, relative to the element that the
    /// chunk's first tap reads.
    pub offset: u32,
    /// The number of channels in the block, excluding padding. They are adjacent.
    pub channels: u32,
}

/// The sizes of an input tile that do not depend on its patch.
pub(super) struct InputTileSize {
    /// The number of channels of a block: 1, or a vector's lanes.
    pub block: usize,
    /// Whether each column of the kernel has its own plane, which contains only the pixels that the column reads. The
    /// inputs of consecutive output pixels are then adjacent in the tile, even across the ends of rows.
    pub column_planes: bool,
    /// With column planes, the pitch is a multiple of this number if the patch is narrower than the output.
    pub column_multiple: usize,
    output_width: usize,
    /// The first row of each row phase that taps read, relative to the first row that the kernel reads, in ascending
    /// order.
    phases: Vec<usize>,
    /// The first column of each plane of a phase, relative to the first column that the kernel reads.
    planes: Vec<usize>,
    /// The reach of the kernel, in rows and columns of a plane. With kernel rows, the reach in rows is 0, and with
    /// column planes, the reach in columns.
    reach: [usize; 2],
}

impl InputTileSize {
    /// `separate` tells for rows and for columns whether each row or column of the kernel has a phase or a plane for
    /// itself.
    pub fn new(shape: &ConvShape, block: usize, separate: [bool; 2], column_multiple: usize) -> Self {
        let [(phases, reach_y), (planes, reach_x)] = [0, 1].map(|axis| {
            if separate[axis] {
                ((0..shape.kernel[axis]).map(|k| k * shape.geometry.dilation[axis]).collect(), 0)
            } else {
                (phases(shape, axis), reach(shape, axis))
            }
        });
        Self {
            block,
            column_planes: separate[1],
            column_multiple,
            output_width: shape.output[1],
            phases,
            planes,
            reach: [reach_y, reach_x],
        }
    }

    /// Returns the pitch of a tile for patches of `columns` columns.
    pub fn pitch(&self, columns: usize) -> usize {
        if !self.column_planes {
            columns.saturating_add(self.reach[1])
        } else if columns == self.output_width {
            columns
        } else {
            columns.next_multiple_of(self.column_multiple)
        }
    }

    /// Returns the number of floats of a tile for patches of `rows × columns` pixels, with `channels` channels.
    pub fn floats(&self, [rows, columns]: [usize; 2], channels: usize) -> usize {
        let pixels = rows.saturating_add(self.reach[0]).saturating_mul(self.pitch(columns));
        let planes = self.phases.len() * self.planes.len();
        pixels.saturating_mul(planes).saturating_mul(channels.next_multiple_of(self.block))
    }
}

/// The layout of an input tile.
pub(super) struct InputTile {
    size: InputTileSize,
    /// The distance from one row to the next, in pixels.
    pub pitch: usize,
    /// The number of pixels in a plane.
    plane_pixels: usize,
    /// The distance from one block of channels to the next, in floats.
    block_stride: usize,
}

impl InputTile {
    /// Returns a tile for patches of at most `rows` rows and `columns` columns, or `None` if it has more than
    /// [`MAX_TILE_FLOATS`] floats for `channels` channels.
    pub fn new(size: InputTileSize, [rows, columns]: [usize; 2], channels: usize) -> Option<Self> {
        let pitch = size.pitch(columns);
        let plane_pixels = rows.checked_add(size.reach[0])?.checked_mul(pitch)?;
        let floats =
            (size.phases.len() * size.planes.len()).checked_mul(plane_pixels)?.checked_mul(size.block)?;
        // An odd number of cache lines avoids cache-set conflicts between channels.
        let block_stride = (floats.div_ceil(CACHE_LINE_FLOATS) | 1).checked_mul(CACHE_LINE_FLOATS)?;
        let fits = block_stride.checked_mul(channels.div_ceil(size.block))? <= MAX_TILE_FLOATS;
        fits.then_some(Self { size, pitch, plane_pixels, block_stride })
    }

    /// Returns the number of floats of `channels` channels.
    pub fn floats(&self, channels: usize) -> usize {
        channels.div_ceil(self.size.block) * self.block_stride
    }

    /// Returns the taps of the input channels `channels` in the order of the packed weight, or `None` if an offset does
    /// not fit in a `u32`. The first channel must start a block.
    pub fn taps(&self, shape: &ConvShape, channels: Range<usize>) -> Option<Vec<Tap>> {
        let kernel = (0..shape.kernel[0]).flat_map(|ky| (0..shape.kernel[1]).map(move |kx| [ky, kx]));
        let mut taps = vec![];
        for (index, first) in channels.clone().step_by(self.size.block).enumerate() {
            for tap in kernel.clone() {
                let offset = index.checked_mul(self.block_stride)? + self.pixel(shape, tap) * self.size.block;
                let channels = self.size.block.min(channels.end - first) as u32;
                taps.push(Tap { offset: u32::try_from(offset).ok()?, channels });
            }
        }
        Some(taps)
    }

    /// Returns the index, in a channel block, of the pixel that a tap of the kernel reads for the patch's first output.
    fn pixel(&self, shape: &ConvShape, [ky, kx]: [usize; 2]) -> usize {
        let ConvGeometry { stride, dilation, .. } = shape.geometry;
        // A row of the kernel reads its own phase, or the phase with the same remainder from the row `y` on. The same
        // holds for columns and planes.
        let index = |phases: &[usize], first: usize, stride: usize| {
            let position = |first: usize| phases.iter().position(|phase| *phase == first);
            match position(first) {
                Some(phase) => (phase, 0),
                None => (position(first % stride).unwrap_or_default(), first / stride),
            }
        };
        let (phase, y) = index(&self.size.phases, ky * dilation[0], stride[0]);
        let (plane, x) = index(&self.size.planes, kx * dilation[1], stride[1]);
        (phase * self.size.planes.len() + plane) * self.plane_pixels + y * self.pitch + x
    }

    /// Returns the rows and columns of the input that [`fill_channel`](Self::fill_channel) reads.
    pub fn window(&self, shape: &ConvShape, patch: &Patch, lanes: usize) -> Window {
        let ConvGeometry { stride, padding, .. } = shape.geometry;
        // Converts the rows or columns `first..=first + count · stride + last_phase` of the padded input to rows or
        // columns of the input, clamped to its size.
        let inside = |axis: usize, first: usize, count: usize, last_phase: usize| {
            let clamped = |i: usize| (first + i).saturating_sub(padding[axis][0]).min(shape.input[axis]);
            clamped(0)..clamped(count * stride[axis] + last_phase + 1)
        };
        let last = |phases: &[usize]| phases.last().copied().unwrap_or(0);
        // A row shorter than a vector is read as a whole vector.
        let columns = (patch.columns + self.size.reach[1]).max(lanes);
        Window {
            rows: inside(0, patch.y * stride[0], patch.rows + self.size.reach[0], last(&self.size.phases)),
            columns: inside(1, patch.x * stride[1], columns, last(&self.size.planes)),
        }
    }

    /// Copies the part of one input channel that `patch` reads. The tile must have blocks of one channel. Pixels
    /// outside of the input are zeros.
    ///
    /// # Safety
    /// `input` has the patch's [`window`](Self::window) of one channel. `tile` has room for one channel and a vector.
    #[inline(always)]
    pub unsafe fn fill_channel<S: Simd>(
        &self,
        simd: S,
        shape: &ConvShape,
        patch: &Patch,
        input: ChannelRows,
        tile: *mut f32,
    ) {
        let [left, _] = shape.geometry.padding[1];
        let stride = shape.geometry.stride[1];
        let width = patch.columns + self.size.reach[1];
        let mut to = tile;
        for phase in &self.size.phases {
            let mut planes = &self.size.planes[..];
            while let [plane, others @ ..] = planes {
                // With stride 2, the next plane may contain the columns that this one skips. If so, fill both at once.
                let fills_two = stride == 2 && others.first() == Some(&(plane + 1)) && width >= S::LANES;
                for x in (0..width).step_by(S::LANES) {
                    // The last vector of a row ends with the row. If the row is shorter than a vector, its only vector
                    // passes the end of the row, and the next row overwrites the excess.
                    let x = x.min(width.saturating_sub(S::LANES));
                    let first = ((patch.x + x) * stride + plane) as isize - left as isize;
                    let columns = Columns::new(simd, first, stride, shape.input[1]);
                    let (to, skipped) = (to.wrapping_add(x), fills_two.then_some(self.plane_pixels));
                    let rows = self.rows(shape, patch, *phase);
                    // SAFETY: the vector holds columns of the tile's plane, and the tile has a vector to spare.
                    unsafe {
                        match stride {
                            1 => columns.fill::<1>(simd, rows, input, to, skipped),
                            2 => columns.fill::<2>(simd, rows, input, to, skipped),
                            _ => columns.fill::<0>(simd, rows, input, to, skipped),
                        }
                    }
                }
                let filled = 1 + usize::from(fills_two);
                planes = &planes[filled..];
                to = to.wrapping_add(filled * self.plane_pixels);
            }
        }
    }

    /// Copies the part of a block of channels `[height, width, lanes]` that `patch` reads. The tile must have blocks of
    /// `lanes` channels. Pixels outside of the input are zeros.
    ///
    /// # Safety
    /// `input` is a block of that shape, and `tile` has room for one block.
    #[inline(always)]
    pub unsafe fn fill_block<S: Simd>(
        &self,
        simd: S,
        shape: &ConvShape,
        patch: &Patch,
        input: *const f32,
        tile: *mut f32,
    ) {
        let ([height, width], [left, _]) = (shape.input, shape.geometry.padding[1]);
        let stride = shape.geometry.stride[1];
        let mut plane_start = tile;
        for phase in &self.size.phases {
            let rows = self.rows(shape, patch, *phase);
            for plane in &self.size.planes {
                // In each row of the plane, the pixels `start..end` lie within the columns of the image.
                let first = patch.x * stride + plane;
                let start = left.saturating_sub(first).div_ceil(stride).min(self.pitch);
                let end = (width + left).saturating_sub(first).div_ceil(stride).clamp(start, self.pitch);
                let mut to = plane_start;
                for row in 0..rows.count {
                    let y = rows.first.wrapping_add(row * rows.step);
                    let (start, end) = if y < height { (start, end) } else { (0, 0) };
                    let column = (first + start * stride).wrapping_sub(left);
                    let from = y.wrapping_mul(width).wrapping_add(column).wrapping_mul(S::LANES);
                    // SAFETY: the row has `pitch` pixels, of which `start..end` lie in the image.
                    unsafe {
                        store_zeros(simd, to, start);
                        let inside = to.add(start * S::LANES);
                        copy_vectors(simd, input.wrapping_add(from), stride, inside, end - start);
                        store_zeros(simd, to.add(end * S::LANES), self.pitch - end);
                    }
                    to = to.wrapping_add(self.pitch * S::LANES);
                }
                plane_start = plane_start.wrapping_add(self.plane_pixels * S::LANES);
            }
        }
    }

    /// Returns the input rows that are copied to a row phase of a patch's tile.
    #[inline(always)]
    fn rows(&self, shape: &ConvShape, patch: &Patch, phase: usize) -> PhaseRows {
        let (stride, [top, _]) = (shape.geometry.stride[0], shape.geometry.padding[0]);
        PhaseRows {
            first: (patch.y * stride + phase).wrapping_sub(top),
            step: stride,
            count: patch.rows + self.size.reach[0],
            height: shape.input[0],
            pitch: self.pitch,
        }
    }
}

/// Copies `vectors` vectors to consecutive memory. In `from`, they are `stride` vectors apart.
///
/// # Safety
/// `from` has the vectors, and `to` has room for them.
#[inline(always)]
unsafe fn copy_vectors<S: Simd>(simd: S, from: *const f32, stride: usize, to: *mut f32, vectors: usize) {
    for i in 0..vectors {
        // SAFETY: guaranteed by the caller.
        unsafe { simd.store(to.add(i * S::LANES), simd.load(from.add(i * stride * S::LANES))) }
    }
}

/// Writes `vectors` vectors of zeros.
///
/// # Safety
/// `to` has room for `vectors` vectors.
#[inline(always)]
pub(super) unsafe fn store_zeros<S: Simd>(simd: S, to: *mut f32, vectors: usize) {
    for i in 0..vectors {
        // SAFETY: guaranteed by the caller.
        unsafe { simd.store(to.add(i * S::LANES), simd.zero()) }
    }
}

/// The input rows of one row phase, and the distance between them in the tile.
struct PhaseRows {
    /// The first row, wrapped around if it lies before the input.
    first: usize,
    /// The distance from one row to the next in the input, in rows.
    step: usize,
    /// The number of rows.
    count: usize,
    /// The number of rows of the input.
    height: usize,
    /// The distance from one row to the next in the tile, in pixels.
    pitch: usize,
}

/// Returns the phases of the rows (or of the columns if `axis` is 1) that a kernel reads, in ascending order.
fn phases(shape: &ConvShape, axis: usize) -> Vec<usize> {
    let (stride, dilation) = (shape.geometry.stride[axis], shape.geometry.dilation[axis]);
    let mut phases: Vec<_> = (0..shape.kernel[axis].min(stride)).map(|k| k * dilation % stride).collect();
    phases.sort_unstable();
    phases.dedup();
    phases
}

/// Returns the reach of a kernel along an axis, in rows (or columns) of a phase.
fn reach(shape: &ConvShape, axis: usize) -> usize {
    (shape.kernel[axis] - 1) * shape.geometry.dilation[axis] / shape.geometry.stride[axis]
}

/// A vector of columns of the input, `stride` columns apart.
struct Columns<S: Simd> {
    /// The first column, negative if it lies before the row.
    first: isize,
    stride: usize,
    width: usize,
    /// The lanes of two consecutive vectors, starting at the first column, that lie within the row.
    inside: [S::Mask; 2],
}

impl<S: Simd> Columns<S> {
    #[inline(always)]
    fn new(simd: S, first: isize, stride: usize, width: usize) -> Self {
        let inside = [simd.mask_in_row(first, width), simd.mask_in_row(first + S::LANES as isize, width)];
        Self { first, stride, width, inside }
    }

    /// Copies a vector of columns of every row to the tile, with zeros for rows outside of the input. With stride 2,
    /// also copies the columns that the vector skips to `to + skipped` if `skipped` is set. `STRIDE` 0 supports any
    /// stride.
    ///
    /// # Safety
    /// In every row of `rows` within the input, the columns of the vector that lie within the row can be read. `to` has
    /// room for a vector in every row.
    #[inline(always)]
    unsafe fn fill<const STRIDE: usize>(
        &self,
        simd: S,
        rows: PhaseRows,
        input: ChannelRows,
        to: *mut f32,
        skipped: Option<usize>,
    ) {
        let (mut y, mut to) = (rows.first, to);
        for _ in 0..rows.count {
            let mut vectors = [simd.zero(); 2];
            if y < rows.height {
                let row = input.first.wrapping_add(y.wrapping_mul(input.pitch));
                // SAFETY: the row lies within the input.
                vectors = unsafe { self.load::<STRIDE>(simd, row) };
            }
            // SAFETY: guaranteed by the caller.
            unsafe {
                simd.store(to, vectors[0]);
                if STRIDE == 2
                    && let Some(plane) = skipped
                {
                    simd.store(to.wrapping_add(plane), vectors[1]);
                }
            }
            y = y.wrapping_add(rows.step);
            to = to.wrapping_add(rows.pitch);
        }
    }

    /// Returns the columns and, with stride 2, the columns between them.
    ///
    /// # Safety
    /// `row` points to a row of the input.
    #[inline(always)]
    unsafe fn load<const STRIDE: usize>(&self, simd: S, row: *const f32) -> [S::V; 2] {
        let first = row.wrapping_offset(self.first);
        if STRIDE > 0 {
            // SAFETY: the masks exclude columns outside of the row.
            let a = unsafe { simd.load_masked(first, self.inside[0]) };
            if STRIDE == 1 {
                return [a, simd.zero()];
            }
            // SAFETY: as above.
            let b = unsafe { simd.load_masked(first.wrapping_add(S::LANES), self.inside[1]) };
            return simd.deinterleave(a, b);
        }
        let mut lanes = [0.; 16];
        for (i, lane) in lanes[..S::LANES].iter_mut().enumerate() {
            let column = self.first.wrapping_add_unsigned(i * self.stride) as usize;
            if column < self.width {
                // SAFETY: the column lies within the row.
                *lane = unsafe { *row.add(column) };
            }
        }
        // SAFETY: a vector has at most 16 lanes.
        [unsafe { simd.load(lanes.as_ptr()) }, simd.zero()]
    }
}
