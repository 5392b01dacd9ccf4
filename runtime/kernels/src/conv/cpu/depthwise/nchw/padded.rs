//! Depthwise convolutions of `Nchw` planes with any kernel size and horizontal stride 1.
//!
//! The input rows of a band are copied with their padding on the left and on the right, so that a vector of columns is
//! a vector of a copied row for every tap. A register tile has several output rows: an input row that all of them read
//! is multiplied by their kernel rows at once, as a matrix product. Input rows above and below the image are skipped.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::{Affine, EpilogueWriter};
use crate::gemm::{Columns, RegisterTile, Rows, consecutive};
use crate::simd::{Floats, Simd};

use super::rows::BAND_ROWS;

/// The maximum number of floats of the copied rows of a band. They stay in the L2 cache.
const MAX_FLOATS: usize = 1 << 17;
/// The maximum number of lanes of the vectors of a register tile together, in any instruction set.
const MAX_TILE_LANES: usize = 128;

/// Returns `true` if this kernel supports the shape.
pub(super) fn supports(shape: &ConvShape) -> bool {
    shape.geometry.stride[1] == 1 && floats(shape) <= MAX_FLOATS
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
    shape.output[1].next_multiple_of(MAX_TILE_LANES) + reach.next_multiple_of(MAX_TILE_LANES)
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
        let ConvShape { kernel, geometry, output, .. } = *self.shape;
        // With a vertical stride or dilation, neighboring output rows do not read the same input rows.
        let shares_rows = kernel[0] > 1 && geometry.stride[0] == 1 && geometry.dilation[0] == 1;
        match self.rows.len() {
            8.. if shares_rows && S::REGISTERS >= 32 && output[1] > S::LANES => self.tiles::<8, 2>(),
            8.. if shares_rows && S::REGISTERS >= 32 => self.tiles::<8, 1>(),
            4.. if shares_rows && S::REGISTERS >= 16 => self.tiles::<4, 2>(),
            _ if S::REGISTERS >= 32 => self.tiles::<1, 8>(),
            _ => self.tiles::<1, 4>(),
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

    /// Copies the input rows, with zeros on the left and on the right.
    ///
    /// # Safety
    /// The rows are in bounds.
    #[inline(always)]
    unsafe fn copy_rows(&mut self, input: *const f32) {
        let ConvShape { input: [_, width], geometry, .. } = *self.shape;
        let [[top, _], [left, _]] = geometry.padding;
        let first = self.rows.start * geometry.stride[0];
        let pitch = pitch(self.shape);
        for row in self.rows_inside() {
            let copy = &mut self.copies[row * pitch..][..pitch];
            // SAFETY: the caller guarantees that the row is in bounds.
            let from = unsafe { std::slice::from_raw_parts(input.wrapping_add((first + row - top) * width), width) };
            copy[..left].fill(0.);
            copy[left..left + width].copy_from_slice(from);
            copy[left + width..].fill(0.);
        }
    }

    /// Computes the band in register tiles of `R` rows and `V` vectors.
    #[inline(always)]
    fn tiles<const R: usize, const V: usize>(&self) {
        let width = self.shape.output[1];
        for y in self.rows.clone().step_by(R) {
            // The last tile ends with the band and may compute some rows twice.
            let y = y.min(self.rows.end - R);
            for x in (0..width).step_by(V * S::LANES) {
                let tile = self.tile::<R, V>(y, x);
                for (r, sums) in tile.sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        let x = x + v * S::LANES;
                        let target = [self.origin + (y + r) * width + x, width.saturating_sub(x).min(S::LANES)];
                        let output = OutputPtr::F32(self.output);
                        // SAFETY: the lanes of the target belong to a row of the band.
                        unsafe {
                            self.writer.store_pixels::<S, false>(self.simd, *sum, &self.affine, target, output);
                        }
                    }
                }
            }
        }
    }

    /// Returns the shift plus the products of the output rows `y..y + R` in the columns from `x` on.
    #[inline(always)]
    fn tile<const R: usize, const V: usize>(&self, y: usize, x: usize) -> RegisterTile<Floats<S>, R, V> {
        let ConvShape { kernel: [height, width], geometry, .. } = *self.shape;
        let ([stride, _], [row_step, column_step]) = (geometry.stride, geometry.dilation);
        let (inside, pitch) = (self.rows_inside(), pitch(self.shape));
        let lanes = Floats::new(self.simd);
        let mut tile = RegisterTile::zeros(lanes);
        tile.sums = [[self.affine.shift[0]; V]; R];
        for i in 0..height + R - 1 {
            let row = (y - self.rows.start) * stride + i * row_step;
            if !inside.contains(&row) {
                continue;
            }
            let copy = &self.copies[row * pitch..][..pitch];
            let pixels =
                Columns { start: copy[x..].as_ptr(), vectors: consecutive(S::LANES), step: column_step };
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
