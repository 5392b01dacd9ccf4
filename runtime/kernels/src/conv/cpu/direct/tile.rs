//! A few channels of the input a task reads, copied to where every tap is a fixed offset.

use super::plan::Patch;
use super::words::{Rows, Window};
use crate::conv::{ConvGeometry, ConvShape};
use crate::simd::Simd;

/// Where a task's vectors read.
pub(super) enum Layout {
    /// In the input itself, as a pointwise convolution can.
    InPlace,
    Tile(Tile),
}

/// `[channels][row phases][column planes][rows][pitch]`. The rows that one row of the kernel reads (every
/// `stride`-th of the input) lie together, a phase. So do the columns that one column of the kernel reads,
/// where the output's rows are whole vectors; else each column of the kernel has a plane of just the pixels
/// that it reads, so that neighbours in the output are neighbours in the tile, across the ends of rows too.
pub(super) struct Tile {
    /// The row phases that some tap reads, ascending.
    phases: Vec<usize>,
    /// The first column, of those that the kernel reaches, in each plane.
    planes: Vec<usize>,
    /// How far the last tap reaches beyond the first, in rows and columns of its plane.
    reach: [usize; 2],
    pub pitch: usize,
    plane: usize,
    channel: usize,
}

impl Tile {
    /// For patches of at most `rows` rows and `columns` columns. `None` where it would have more than `most`
    /// floats for `channels` channels.
    pub fn new(
        shape: &ConvShape,
        [rows, columns]: [usize; 2],
        channels: usize,
        lanes: usize,
        most: usize,
    ) -> Option<Self> {
        let [reach_y, reach_x] = [0, 1].map(|axis| reach(shape, axis));
        let (planes, pitch, reach_x) = match columns % lanes {
            0 => (phases(shape, 1), columns.checked_add(reach_x)?, reach_x),
            _ => {
                let planes = (0..shape.kernel[1]).map(|k| k * shape.geometry.dilation[1]);
                // Where a patch is not as wide as the output, each of its rows starts a vector.
                let whole_rows = columns == shape.output[1];
                (planes.collect(), if whole_rows { columns } else { columns.next_multiple_of(lanes) }, 0)
            }
        };
        let reach = [reach_y, reach_x];
        let plane = rows.checked_add(reach_y)?.checked_mul(pitch)?;
        let phases = phases(shape, 0);
        let lines = (phases.len() * planes.len()).checked_mul(plane)?.div_ceil(16);
        // An odd number of cache lines, so that the channels do not all fall on the same few sets.
        let channel = (lines | 1).checked_mul(16)?;
        let fits = channel.checked_mul(channels)? <= most;
        fits.then_some(Self { phases, planes, reach, pitch, plane, channel })
    }

    /// The offset of every tap of `channels` channels, in the weight's order.
    pub fn taps(&self, shape: &ConvShape, channels: usize) -> Vec<u32> {
        let [height, width] = shape.kernel;
        let ConvGeometry { stride, dilation, .. } = shape.geometry;
        let index = |of: &[usize], phase: usize| of.iter().position(|p| *p == phase);
        let offset = |channel: usize, ky: usize, kx: usize| {
            let [y, x] = [ky * dilation[0], kx * dilation[1]];
            let phase = index(&self.phases, y % stride[0]).unwrap_or_default();
            // A plane of its own, or a shift in the plane of its phase.
            let (plane, shift) = match index(&self.planes, x) {
                Some(plane) => (plane, 0),
                None => (index(&self.planes, x % stride[1]).unwrap_or_default(), x / stride[1]),
            };
            let plane = phase * self.planes.len() + plane;
            (channel * self.channel + plane * self.plane + y / stride[0] * self.pitch + shift) as u32
        };
        let rows = (0..channels).flat_map(|channel| (0..height).map(move |ky| (channel, ky)));
        rows.flat_map(|(channel, ky)| (0..width).map(move |kx| offset(channel, ky, kx))).collect()
    }

    /// Floats of `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel
    }

    /// The rows and columns of the input that [`fill`](Self::fill) reads.
    pub fn window(&self, shape: &ConvShape, patch: &Patch, lanes: usize) -> Window {
        let ConvGeometry { stride, padding, .. } = shape.geometry;
        let inside = |axis: usize, first: usize, steps: usize, last: usize| {
            let at = |i: usize| (first + i).saturating_sub(padding[axis][0]).min(shape.input[axis]);
            at(0)..at(steps * stride[axis] + last + 1)
        };
        let last = |of: &[usize]| of.last().copied().unwrap_or(0);
        // A row shorter than a vector is read as one.
        let columns = (patch.columns + self.reach[1]).max(lanes);
        Window {
            rows: inside(0, patch.y * stride[0], patch.rows + self.reach[0], last(&self.phases)),
            columns: inside(1, patch.x * stride[1], columns, last(&self.planes)),
        }
    }

    /// Copies one channel's part of the input that `patch` reads to `tile`, zeros where it leaves the input.
    ///
    /// # Safety
    /// `input` has the patch's [`window`](Self::window) of one channel; `tile` has room for one, and for a
    /// vector after it.
    #[inline(always)]
    pub unsafe fn fill<S: Simd>(
        &self,
        simd: S,
        shape: &ConvShape,
        patch: &Patch,
        input: Rows,
        tile: *mut f32,
    ) {
        let [left, _] = shape.geometry.padding[1];
        let stride = shape.geometry.stride[1];
        let width = patch.columns + self.reach[1];
        let mut to = tile;
        for phase in &self.phases {
            let mut planes = &self.planes[..];
            while let [plane, others @ ..] = planes {
                // With stride 2 a plane's neighbour has the columns between its own.
                let pair = stride == 2 && others.first() == Some(&(plane + 1)) && width >= S::LANES;
                for x in (0..width).step_by(S::LANES) {
                    // The last vector of a row ends where the row does. A row shorter than a vector is
                    // stored with what is beyond it, which the next row then overwrites.
                    let x = x.min(width.saturating_sub(S::LANES));
                    let first = ((patch.x + x) * stride + plane) as isize - left as isize;
                    let columns = Columns::new(simd, first, stride, shape.input[1]);
                    let (to, between) = (to.wrapping_add(x), pair.then_some(self.plane));
                    let rows = self.rows(shape, patch, *phase);
                    // SAFETY: the columns, from the first on, are those of the tile's plane.
                    unsafe {
                        match stride {
                            1 => columns.fill::<1>(simd, rows, input, to, between),
                            2 => columns.fill::<2>(simd, rows, input, to, between),
                            _ => columns.fill::<0>(simd, rows, input, to, between),
                        }
                    }
                }
                let done = 1 + usize::from(pair);
                planes = &planes[done..];
                to = to.wrapping_add(done * self.plane);
            }
        }
    }

    /// The rows of the input that one phase of a patch reads.
    #[inline(always)]
    fn rows(&self, shape: &ConvShape, patch: &Patch, phase: usize) -> RowsOfPhase {
        let (stride, [top, _]) = (shape.geometry.stride[0], shape.geometry.padding[0]);
        RowsOfPhase {
            first: (patch.y * stride + phase).wrapping_sub(top),
            step: stride,
            count: patch.rows + self.reach[0],
            height: shape.input[0],
            pitch: self.pitch,
        }
    }
}

/// Some rows of the input, and where they go in the tile.
struct RowsOfPhase {
    /// Where it wraps around, the row lies before the input.
    first: usize,
    step: usize,
    count: usize,
    height: usize,
    /// From one row to the next in the tile.
    pitch: usize,
}

/// The rows (columns with `axis` 1) modulo the stride that those of a kernel read, ascending.
pub(super) fn phases(shape: &ConvShape, axis: usize) -> Vec<usize> {
    let (stride, dilation) = (shape.geometry.stride[axis], shape.geometry.dilation[axis]);
    let mut phases: Vec<_> = (0..shape.kernel[axis].min(stride)).map(|k| k * dilation % stride).collect();
    phases.sort_unstable();
    phases.dedup();
    phases
}

/// How far the last row (column) of a kernel reaches beyond the first, in rows of their phases.
pub(super) fn reach(shape: &ConvShape, axis: usize) -> usize {
    (shape.kernel[axis] - 1) * shape.geometry.dilation[axis] / shape.geometry.stride[axis]
}

/// Every `stride`-th column of a row of the input, as many as a vector has lanes.
struct Columns<S: Simd> {
    /// The first, which may lie before the row.
    first: isize,
    stride: usize,
    width: usize,
    /// The lanes of two vectors from the first column on that lie within the row.
    inside: [S::Mask; 2],
}

impl<S: Simd> Columns<S> {
    #[inline(always)]
    fn new(simd: S, first: isize, stride: usize, width: usize) -> Self {
        let inside = [simd.inside(first, width), simd.inside(first + S::LANES as isize, width)];
        Self { first, stride, width, inside }
    }

    /// Copies a vector of columns of every row to the tile, zeros where there is no row; the columns between
    /// them, of stride 2, so far `between` them as given. A `STRIDE` of 0 is any.
    ///
    /// # Safety
    /// `input` has these columns, where they lie within the row; `to` has room for a vector in every row.
    #[inline(always)]
    unsafe fn fill<const STRIDE: usize>(
        &self,
        simd: S,
        rows: RowsOfPhase,
        input: Rows,
        to: *mut f32,
        between: Option<usize>,
    ) {
        let (mut y, mut to) = (rows.first, to);
        for _ in 0..rows.count {
            let row = (y < rows.height).then_some(input.first.wrapping_add(y.wrapping_mul(input.pitch)));
            // SAFETY: the caller's promise.
            unsafe {
                match STRIDE {
                    1 => simd.store(to, self.neighbours(simd, row)),
                    2 => {
                        let [own, others] = self.every_other(simd, row);
                        simd.store(to, own);
                        if let Some(plane) = between {
                            simd.store(to.wrapping_add(plane), others);
                        }
                    }
                    _ => simd.store(to, self.strided(simd, row)),
                }
            }
            y = y.wrapping_add(rows.step);
            to = to.wrapping_add(rows.pitch);
        }
    }

    /// With stride 1; zeros where there is no row.
    ///
    /// # Safety
    /// `row` is as wide as the input.
    #[inline(always)]
    unsafe fn neighbours(&self, simd: S, row: Option<*const f32>) -> S::V {
        let Some(row) = row else { return simd.zero() };
        // SAFETY: the mask keeps to the row.
        unsafe { simd.load_masked(row.wrapping_offset(self.first), self.inside[0]) }
    }

    /// With stride 2, and the columns between them.
    ///
    /// # Safety
    /// As for [`neighbours`](Self::neighbours).
    #[inline(always)]
    unsafe fn every_other(&self, simd: S, row: Option<*const f32>) -> [S::V; 2] {
        let Some(row) = row else { return [simd.zero(); 2] };
        let row = row.wrapping_offset(self.first);
        // SAFETY: the mask keeps to the row.
        let a = unsafe { simd.load_masked(row, self.inside[0]) };
        // SAFETY: as above.
        let b = unsafe { simd.load_masked(row.wrapping_add(S::LANES), self.inside[1]) };
        simd.deinterleave(a, b)
    }

    /// With any stride.
    ///
    /// # Safety
    /// As for [`neighbours`](Self::neighbours).
    #[inline(always)]
    unsafe fn strided(&self, simd: S, row: Option<*const f32>) -> S::V {
        let Some(row) = row else { return simd.zero() };
        let mut lanes = [0.; 16];
        for (i, lane) in lanes[..S::LANES].iter_mut().enumerate() {
            let column = self.first.wrapping_add_unsigned(i * self.stride) as usize;
            if column < self.width {
                // SAFETY: the column lies within the row.
                *lane = unsafe { *row.add(column) };
            }
        }
        // SAFETY: no vector has more than 16 lanes.
        unsafe { simd.load(lanes.as_ptr()) }
    }
}
