//! Depthwise convolutions with 3×3 weights. A channel's nine weights stay in registers across rows, and neighboring
//! outputs share each loaded pixel.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::epilogue::{Affine, Destination};
use crate::memory::{CACHE_LINE_FLOATS, CacheLine};
use crate::simd::Simd;

use super::{DepthwiseRows, inside};

/// Returns the maximum number of output pixels that are computed at once. With more, there would be too few registers
/// for the weights and a pixel, or the compiler would not unroll the loops.
const fn pixels_at_once<S: Simd, const STRIDE: usize>() -> usize {
    match (S::REGISTERS, STRIDE) {
        (32.., 1) => 8,
        _ => 4,
    }
}

/// Returns `true` if this kernel supports the shape.
pub(super) fn is_suitable(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    shape.kernel == [3; 2]
        && geometry.dilation == [1; 2]
        && (1..=2).contains(&geometry.stride[1])
        && geometry.padding[1].iter().all(|padding| *padding <= 1)
}

/// One block of channels of one image.
pub(super) struct Plane<'a, S: Simd> {
    simd: S,
    depthwise: &'a DepthwiseRows<'a>,
    /// The weights multiplied by the scale.
    weights: [S::V; 9],
    affine: Affine<S, 1>,
    /// The index of the block, counted across all images.
    index: usize,
    /// The pixels of the block in the input.
    input: *const f32,
}

impl<'a, S: Simd> Plane<'a, S> {
    #[inline(always)]
    pub fn new(depthwise: &'a DepthwiseRows<'a>, simd: S, index: usize, input: *const f32) -> Self {
        let block = index % depthwise.shape.out_channels.div_ceil(S::LANES);
        let affine: Affine<S, 1> = depthwise.writer.vectors(simd, block * S::LANES);
        let mut weights = [simd.zero(); 9];
        for (tap, weight) in weights.iter_mut().enumerate() {
            let at = (block * 9 + tap) * S::LANES;
            // SAFETY: there are weights for every tap of every block.
            *weight = simd.mul(unsafe { simd.load(depthwise.weights.as_ptr().add(at)) }, affine.scale[0]);
        }
        Self { simd, depthwise, weights, affine, index, input }
    }

    /// Computes an output row in pieces of nearly equal size.
    #[inline(always)]
    pub fn compute_row<const STRIDE: usize>(&self, y: usize) {
        let ConvShape { input: [height, _], output, geometry, .. } = self.depthwise.shape;
        let first = (y * geometry.stride[0]).wrapping_sub(geometry.padding[0][0]);
        let at = (self.index * output[0] + y) * output[1] * S::LANES;
        let row = Row {
            first,
            kernel_rows: inside(y * geometry.stride[0], geometry.padding[0][0], *height, 1, 3),
            to: Destination { output: self.depthwise.output.as_f32(), at, block: 0 },
        };
        let pieces = output[1].div_ceil(const { pixels_at_once::<S, STRIDE>() });
        let bound = |piece: usize| piece * output[1] / pieces;
        for piece in 0..pieces {
            let x = bound(piece);
            macro_rules! compute_piece {
                ($($count:literal)*) => {
                    match bound(piece + 1) - x {
                        // SAFETY: the row has these pixels.
                        $($count => unsafe { self.compute_pixels::<STRIDE, $count>(&row, x) },)*
                        count => unreachable!("a piece of {count} pixels"),
                    }
                };
            }
            // Larger pieces are compiled only for instruction sets with enough registers.
            if const { pixels_at_once::<S, STRIDE>() >= 8 } {
                compute_piece!(1 2 3 4 5 6 7 8)
            } else {
                compute_piece!(1 2 3 4)
            }
        }
        // SAFETY: the row belongs to the output, and no other task writes it.
        unsafe { self.depthwise.writer.activate_vectors(self.simd, &self.affine, row.to, output[1]) }
    }

    /// Computes the output pixels `x..x + COUNT` of a row.
    ///
    /// # Safety
    /// The row has these pixels.
    #[inline(always)]
    unsafe fn compute_pixels<const STRIDE: usize, const COUNT: usize>(&self, row: &Row, x: usize) {
        let ConvShape { input: [_, width], geometry, .. } = self.depthwise.shape;
        let mut sums = [[self.affine.shift[0]]; COUNT];
        let (first, count) = ((x * STRIDE).wrapping_sub(geometry.padding[1][0]), (COUNT - 1) * STRIDE + 3);
        // Whether the first and the last input column of these outputs lie within the image.
        let inside = [first < *width, first.wrapping_add(count - 1) < *width];
        for ky in 0..3 {
            if !row.kernel_rows.contains(&ky) {
                continue;
            }
            let pixels = (row.first.wrapping_add(ky) * width).wrapping_add(first).wrapping_mul(S::LANES);
            let pixels = self.input.wrapping_add(pixels);
            for j in 0..count {
                // Only the first and the last column can lie outside of the image.
                let outside = j == 0 && !inside[0] || j == count - 1 && !inside[1];
                let from = if outside { ZEROS.0.as_ptr() } else { pixels.wrapping_add(j * S::LANES) };
                // SAFETY: the column and the row lie within the image, or `from` points to `ZEROS`.
                let pixel = unsafe { self.simd.load(from) };
                for kx in 0..3 {
                    if j >= kx && (j - kx) % STRIDE == 0 && (j - kx) / STRIDE < COUNT {
                        let sum = &mut sums[(j - kx) / STRIDE][0];
                        *sum = self.simd.fma(pixel, self.weights[ky * 3 + kx], *sum);
                    }
                }
            }
        }
        let to = Destination { at: row.to.at + x * S::LANES, ..row.to };
        // SAFETY: guaranteed by the caller; no other task writes the row.
        unsafe { self.depthwise.writer.store_vectors(self.simd, sums, &self.affine, to) }
    }
}

/// A pixel outside of the image.
static ZEROS: CacheLine = CacheLine([0.; CACHE_LINE_FLOATS]);

/// A row of the output.
struct Row {
    /// The index of the input row under the first kernel row, with wrapping arithmetic: a row in the padding above the
    /// input has a huge index.
    first: usize,
    /// The kernel rows within the image.
    kernel_rows: Range<usize>,
    /// The row's first output pixel.
    to: Destination,
}
