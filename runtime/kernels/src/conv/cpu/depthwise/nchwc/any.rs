//! Kernels of any size, stride and dilation, one output row at a time.
//!
//! Taps outside of the image are skipped. Columns whose taps all lie within the image are summed several at a time.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::epilogue::{Affine, Destination};
use crate::simd::Simd;

use super::{Planes, inside};

impl Planes<'_> {
    /// Computes one row of one block, with stride `STRIDE`, or with any stride if `STRIDE` is 0.
    #[inline(always)]
    pub(super) fn row<S: Simd, const STRIDE: usize>(&self, simd: S, index: usize) {
        let ConvShape { output, kernel, geometry, .. } = self.shape;
        let blocks = self.shape.out_channels.div_ceil(S::LANES);
        let affine: Affine<S, 1> = self.writer.vectors(simd, index / output[0] % blocks * S::LANES);
        let reads = self.reads::<S, STRIDE>(simd, index);
        let left = geometry.padding[1][0];
        let to = |x: usize| Destination {
            output: self.output.0,
            at: (index * output[1] + x) * S::LANES,
            block: 0,
        };
        let (whole, all) = (self.whole_columns(), 0..kernel[1]);
        let mut x = 0;
        while x < output[1] {
            let column = (x * reads.stride).wrapping_sub(left);
            let count = if whole.start <= x { whole.end.saturating_sub(x) } else { 0 };
            // SAFETY: the taps lie within the image, the pixels lie in this row, and no other task writes it.
            x += unsafe {
                match count {
                    8.. => {
                        self.writer.store_vectors(simd, reads.sums::<8>(column, all.clone()), &affine, to(x));
                        8
                    }
                    4.. => {
                        self.writer.store_vectors(simd, reads.sums::<4>(column, all.clone()), &affine, to(x));
                        4
                    }
                    _ => {
                        let [first, width] = [x * reads.stride, self.shape.input[1]];
                        let taps = inside(first, left, width, geometry.dilation[1], kernel[1]);
                        self.writer.store_vectors(simd, reads.sums::<1>(column, taps), &affine, to(x));
                        1
                    }
                }
            };
        }
        // SAFETY: as above.
        unsafe { self.writer.activate_vectors(simd, &affine, to(0), output[1]) }
    }

    /// Returns what an output row reads: the input rows under those kernel rows that lie within the image.
    #[inline(always)]
    fn reads<S: Simd, const STRIDE: usize>(&self, simd: S, index: usize) -> Reads<S> {
        let ConvShape { input: [height, width], output, kernel, geometry, .. } = self.shape;
        let (plane, y) = (index / output[0], index % output[0]);
        let block = plane % self.shape.out_channels.div_ceil(S::LANES);
        let ([stride, _], [dilation, _], [[top, _], _]) =
            (geometry.stride, geometry.dilation, geometry.padding);
        let taps = inside(y * stride, top, *height, dilation, kernel[0]);
        let first = (y * stride + taps.start * dilation).saturating_sub(top);
        let weights = (block * kernel[0] + taps.start) * kernel[1] * S::LANES;
        Reads {
            simd,
            input: self.input.wrapping_add((plane * height + first) * width * S::LANES),
            row_step: dilation * width * S::LANES,
            weights: self.weights.as_ptr().wrapping_add(weights),
            kernel: [taps.len(), kernel[1]],
            tap_step: geometry.dilation[1],
            stride: if STRIDE == 0 { geometry.stride[1] } else { STRIDE },
        }
    }

    /// Returns the columns whose taps all lie within the image.
    #[inline(always)]
    fn whole_columns(&self) -> Range<usize> {
        let ConvShape { input: [_, width], output, kernel, geometry, .. } = self.shape;
        let (stride, left) = (geometry.stride[1], geometry.padding[1][0]);
        let reach = (kernel[1] - 1) * geometry.dilation[1];
        let start = left.div_ceil(stride);
        let end = (width + left).saturating_sub(reach).div_ceil(stride).min(output[1]);
        start..end.max(start)
    }
}

/// The input of an output row: the taps of some kernel rows.
struct Reads<S: Simd> {
    simd: S,
    /// The input row that the first kernel row reads, and the distance from there to the input row that the next kernel
    /// row reads.
    input: *const f32,
    row_step: usize,
    weights: *const f32,
    kernel: [usize; 2],
    /// The distances between taps and between pixels.
    tap_step: usize,
    stride: usize,
}

impl<S: Simd> Reads<S> {
    /// Returns the sums of `COUNT` pixels over the taps `taps` of each kernel row. For the first pixel, tap 0 reads
    /// column `column`, which may wrap around.
    ///
    /// # Safety
    /// All these taps lie within the image.
    #[inline(always)]
    unsafe fn sums<const COUNT: usize>(&self, column: usize, taps: Range<usize>) -> [[S::V; 1]; COUNT] {
        let mut sums = [[self.simd.zero()]; COUNT];
        for ky in 0..self.kernel[0] {
            let row = self.input.wrapping_add(ky * self.row_step);
            for kx in taps.clone() {
                let column = column.wrapping_add(kx * self.tap_step);
                let first = row.wrapping_add(column.wrapping_mul(S::LANES));
                // SAFETY: the weights have every tap.
                let weight =
                    unsafe { self.simd.load(self.weights.add((ky * self.kernel[1] + kx) * S::LANES)) };
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let pixel = unsafe { self.simd.load(first.add(p * self.stride * S::LANES)) };
                    sum[0] = self.simd.fma(pixel, weight, sum[0]);
                }
            }
        }
        sums
    }
}
