//! Depthwise convolutions of `Nchw` planes with any kernel size and horizontal stride 1.
//!
//! The input rows of a band are copied with their padding, so that every tap of a vector of columns is a vector of a
//! copied row. There are two kinds of register tiles:
//!
//! - The general tile has vectors of columns from any rows, and loads a vector of pixels for every multiply-add.
//! - For tall kernels, a tile has the same columns of several output rows. An input row that all of them read is
//!   multiplied by their kernel rows at once, as a matrix product, which loads a vector of pixels once for all rows.
//!   Input rows above and below the image are skipped.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::{Affine, EpilogueWriter};
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::simd::{Floats, MAX_LANES, Simd};

use super::rows::BAND_ROWS;

/// The maximum number of floats of the copied rows of a band. They stay in the L2 cache.
const MAX_FLOATS: usize = 1 << 17;
/// The number of kernel rows for which most input rows of a tile are read by all of its output rows.
const TALL_KERNEL: usize = 16;
/// The number of vectors in a row of a tile for tall kernels.
const TALL_VECTORS: usize = 2;

/// The minimum number of products of vectors for each output row. To copy an input row takes about as long.
const MIN_ROW_PRODUCTS: usize = 96;

/// Returns `true` if this kernel supports the shape.
pub(super) fn supports(shape: &ConvShape) -> bool {
    let row_products = shape.depth() * shape.output[1].div_ceil(MAX_LANES);
    shape.geometry.stride[1] == 1 && row_products >= MIN_ROW_PRODUCTS && floats(shape) <= MAX_FLOATS
}

/// Returns the number of floats of the copied rows of a band.
pub(super) fn floats(shape: &ConvShape) -> usize {
    input_rows(shape, BAND_ROWS.min(shape.output[0])) * pitch(shape)
}

/// Returns the number of input rows that `rows` output rows read.
fn input_rows(shape: &ConvShape, rows: usize) -> usize {
    let ConvShape { kernel, geometry, .. } = shape;
    (rows - 1) * geometry.stride[0] + (kernel[0] - 1) * geometry.dilation[0] + 1
}

/// Returns the distance between copied rows. A row has every vector that a register tile reads.
fn pitch(shape: &ConvShape) -> usize {
    let reach = (shape.kernel[1] - 1) * shape.geometry.dilation[1];
    shape.output[1].next_multiple_of(TALL_VECTORS * MAX_LANES) + reach
}

/// A band of rows of one output plane.
pub(super) struct PaddedBand<'a, S: Simd> {
    pub simd: S,
    pub shape: &'a ConvShape,
    /// The output rows.
    pub rows: Range<usize>,
    /// The weights of the channel, `[kernel height][kernel width]`.
    pub weight: &'a [f32],
    pub writer: EpilogueWriter<'a>,
    pub affine: Affine<S, 1>,
    /// The address of the first output element, which may lie outside of the output band.
    pub output: *mut f32,
    /// The index of the plane's first element in the output.
    pub origin: usize,
    /// Room for [`floats`] floats.
    pub copies: &'a mut [f32],
}

impl<S: Simd> PaddedBand<'_, S> {
    /// Computes the band. `input` is the address of the first row of the input plane.
    ///
    /// # Safety
    /// The rows of the input that the band reads are in bounds. No other task accesses the output rows.
    #[inline(always)]
    pub unsafe fn compute(mut self, input: *const f32) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.copy_rows(input) }
        let ConvShape { kernel, geometry, .. } = *self.shape;
        // With a vertical stride or dilation, neighboring output rows do not read the same input rows.
        let is_tall = kernel[0] >= TALL_KERNEL && geometry.stride[0] == 1 && geometry.dilation[0] == 1;
        match self.rows.len() {
            8.. if is_tall && S::REGISTERS >= 32 => self.tall_tiles::<8>(),
            4.. if is_tall && S::REGISTERS >= 16 => self.tall_tiles::<4>(),
            _ if S::REGISTERS >= 32 => self.general_tiles::<8>(),
            _ => self.general_tiles::<4>(),
        }
    }

    /// Returns the rows of the band's input that lie in the image, counted from the band's first input row.
    #[inline(always)]
    fn rows_inside(&self) -> Range<usize> {
        let ConvShape { input: [height, _], geometry, .. } = self.shape;
        let (first, top) = (self.rows.start * geometry.stride[0], geometry.padding[0][0]);
        let count = input_rows(self.shape, self.rows.len());
        let end = (height + top).saturating_sub(first).min(count);
        top.saturating_sub(first).min(end)..end
    }

    /// Copies the input rows, with zeros on the left and on the right, and with rows of zeros above and below the
    /// image.
    ///
    /// # Safety
    /// The rows are in bounds.
    #[inline(always)]
    unsafe fn copy_rows(&mut self, input: *const f32) {
        let ConvShape { input: [_, width], geometry, .. } = *self.shape;
        let [[top, _], [left, _]] = geometry.padding;
        let (inside, first) = (self.rows_inside(), self.rows.start * geometry.stride[0]);
        let copies = self.copies.chunks_exact_mut(pitch(self.shape));
        for (row, copy) in copies.take(input_rows(self.shape, self.rows.len())).enumerate() {
            if !inside.contains(&row) {
                copy.fill(0.);
                continue;
            }
            let from = input.wrapping_add((first + row - top) * width);
            // SAFETY: the caller guarantees that the row is in bounds.
            let from = unsafe { std::slice::from_raw_parts(from, width) };
            copy[..left].fill(0.);
            copy[left..left + width].copy_from_slice(from);
            copy[left + width..].fill(0.);
        }
    }

    /// Stores the results of a vector of columns that begins at column `x` of output row `y`.
    #[inline(always)]
    fn store(&self, sum: S::V, [y, x]: [usize; 2]) {
        let width = self.shape.output[1];
        let target = [self.origin + y * width + x, width.saturating_sub(x).min(S::LANES)];
        let output = OutputPtr::F32(self.output);
        // SAFETY: the lanes of the target belong to a row of the band, which no other task accesses.
        unsafe { self.writer.store_pixels::<S, false>(self.simd, sum, &self.affine, target, output) }
    }

    /// Computes the band in general tiles of `V` vectors.
    #[inline(always)]
    fn general_tiles<const V: usize>(&self) {
        let ConvShape { output: [_, columns], geometry, .. } = *self.shape;
        let pitch = pitch(self.shape);
        let mut left = self.rows.len() * columns.div_ceil(S::LANES);
        let mut next = [0; 2];
        while left > 0 {
            let count = left.min(V);
            // Vectors after the last repeat the last. Their sums are discarded.
            let mut positions = [next; V];
            let mut vectors = [0; V];
            for v in 0..V {
                let [row, x] = next;
                positions[v] = [self.rows.start + row, x];
                vectors[v] = row * geometry.stride[0] * pitch + x;
                if v + 1 < count || count == V {
                    next = if x + S::LANES < columns { [row, x + S::LANES] } else { [row + 1, 0] };
                }
            }
            let sums = self.general_tile(vectors);
            for v in 0..V {
                if v < count {
                    self.store(sums[v], positions[v]);
                }
            }
            left -= count;
        }
    }

    /// Returns the shift plus the products of the vectors of columns whose first taps are at `vectors` in the copies.
    #[inline(always)]
    fn general_tile<const V: usize>(&self, vectors: [usize; V]) -> [S::V; V] {
        let ConvShape { kernel: [height, width], geometry, .. } = *self.shape;
        let [row_step, step] = geometry.dilation;
        let mut tile = RegisterTile::<_, 1, V>::zeros(Floats::new(self.simd));
        tile.sums = [[self.affine.shift[0]; V]];
        for ky in 0..height {
            let weights = Rows { start: self.weight[ky * width..].as_ptr(), rows: [0], step: 1 };
            let start = self.copies[ky * row_step * pitch(self.shape)..].as_ptr();
            // SAFETY: a kernel row has `width` taps, and the copies have the vector of every tap.
            unsafe { tile.add_product::<0>(width, weights, Columns { start, vectors, step }) };
        }
        tile.sums[0]
    }

    /// Computes the band in tiles of `R` rows.
    #[inline(always)]
    fn tall_tiles<const R: usize>(&self) {
        for y in self.rows.clone().step_by(R) {
            // The last tile ends with the band and may compute some rows twice.
            let y = y.min(self.rows.end - R);
            for x in (0..self.shape.output[1]).step_by(TALL_VECTORS * S::LANES) {
                let tile = self.tall_tile::<R, TALL_VECTORS>(y, x);
                for r in 0..R {
                    for v in 0..TALL_VECTORS {
                        self.store(tile.sums[r][v], [y + r, x + v * S::LANES]);
                    }
                }
            }
        }
    }

    /// Returns the shift plus the products of the output rows `y..y + R` in the columns from `x` on.
    #[inline(always)]
    fn tall_tile<const R: usize, const V: usize>(&self, y: usize, x: usize) -> RegisterTile<Floats<S>, R, V> {
        let [height, width] = self.shape.kernel;
        let (inside, pitch) = (self.rows_inside(), pitch(self.shape));
        let step = self.shape.geometry.dilation[1];
        let lanes = Floats::new(self.simd);
        let mut tile = RegisterTile::zeros(lanes);
        tile.sums = [[self.affine.shift[0]; V]; R];
        for i in 0..height + R - 1 {
            let row = y - self.rows.start + i;
            if !inside.contains(&row) {
                continue;
            }
            let copy = &self.copies[row * pitch..][..pitch];
            let pixels = Columns { start: copy[x..].as_ptr(), vectors: consecutive(S::LANES), step };
            // Output row `r` multiplies the input row by the kernel row `i - r`.
            if i + 1 >= R && i < height {
                let rows = std::array::from_fn(|r| (R - 1 - r) * width);
                let weights = Rows { start: self.weight[(i + 1 - R) * width..].as_ptr(), rows, step: 1 };
                // SAFETY: the weight has `width` taps in each of `R` kernel rows, and the copy has every vector that a
                // tile reads.
                unsafe { tile.add_product::<0>(width, weights, pixels) };
                continue;
            }
            for r in 0..R {
                if r <= i && i < r + height {
                    let weights = Rows { start: self.weight[(i - r) * width..].as_ptr(), rows: [0], step: 1 };
                    let mut row = RegisterTile::<_, 1, V>::zeros(lanes);
                    row.sums[0] = tile.sums[r];
                    // SAFETY: as above, for one kernel row.
                    unsafe { row.add_product::<0>(width, weights, pixels) };
                    tile.sums[r] = row.sums[0];
                }
            }
        }
        tile
    }
}
