//! Depthwise convolutions of any kernel size, stride and dilation, one output row at a time.
//!
//! Taps outside of the image are skipped. Columns whose taps all lie within the image are computed several at a time.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::epilogue::{Affine, Destination, EpilogueWriter};
use crate::simd::Simd;

use super::{DepthwiseRows, inside};

impl DepthwiseRows<'_> {
    /// Computes the output row `y` of one channel block. `index` is the index of the block, counted across all images.
    /// `STRIDE` is the horizontal stride, or 0 for any stride.
    #[inline(always)]
    pub(super) fn compute_row<S: Simd, const STRIDE: usize>(&self, simd: S, index: usize, y: usize) {
        let ConvShape { input: [_, width], output, kernel, geometry, .. } = self.shape;
        let row = Row::new::<STRIDE>(self, simd, index, y);
        let inner = self.inner_columns();
        let mut x = 0;
        while x < output[1] {
            let inner_count = if inner.start <= x { inner.end.saturating_sub(x) } else { 0 };
            let taps = match inner_count {
                4.. => 0..kernel[1],
                _ => inside(x * row.stride, row.left, *width, geometry.dilation[1], kernel[1]),
            };
            // SAFETY: the taps lie within the image, the pixels lie in this row, and no other task writes it.
            x += unsafe {
                match inner_count {
                    8.. => row.pixels::<8>(x, taps),
                    4.. => row.pixels::<4>(x, taps),
                    _ => row.pixels::<1>(x, taps),
                }
            };
        }
        // SAFETY: as above.
        unsafe { self.writer.activate_vectors(simd, &row.affine, row.to, output[1]) }
    }

    /// Returns the columns whose taps all lie within the image.
    #[inline(always)]
    fn inner_columns(&self) -> Range<usize> {
        let ConvShape { input: [_, width], output, kernel, geometry, .. } = self.shape;
        let (stride, left) = (geometry.stride[1], geometry.padding[1][0]);
        let reach = (kernel[1] - 1) * geometry.dilation[1];
        let start = left.div_ceil(stride);
        let end = (width + left).saturating_sub(reach).div_ceil(stride).min(output[1]);
        start..end.max(start)
    }
}

/// An output row and its input rows. Kernel rows outside of the image are skipped.
struct Row<'a, S: Simd> {
    simd: S,
    /// The input row that the first kernel row within the image reads.
    input: *const f32,
    /// The distance to the input row that the next kernel row reads, in floats.
    row_step: usize,
    weights: *const f32,
    /// The number of kernel rows that lie within the image, and the number of all kernel columns.
    kernel: [usize; 2],
    /// The distance between taps, in pixels.
    tap_step: usize,
    /// The distance between the inputs of neighboring outputs, in pixels.
    stride: usize,
    /// The number of columns of padding before the row.
    left: usize,
    writer: &'a EpilogueWriter<'a>,
    affine: Affine<S, 1>,
    /// The row's first output pixel.
    to: Destination,
}

impl<'a, S: Simd> Row<'a, S> {
    #[inline(always)]
    fn new<const STRIDE: usize>(depthwise: &'a DepthwiseRows<'a>, simd: S, index: usize, y: usize) -> Self {
        let ConvShape { input: [height, width], output, kernel, geometry, out_channels, .. } =
            depthwise.shape;
        let channel = index % out_channels.div_ceil(S::LANES) * S::LANES;
        let ([stride, _], [dilation, _], [[top, _], [left, _]]) =
            (geometry.stride, geometry.dilation, geometry.padding);
        let kernel_rows = inside(y * stride, top, *height, dilation, kernel[0]);
        let first = (y * stride + kernel_rows.start * dilation).saturating_sub(top);
        let input = depthwise.input.as_ptr().wrapping_add((index * height + first) * width * S::LANES);
        let weights = (channel * kernel[0] + kernel_rows.start * S::LANES) * kernel[1];
        let at = (index * output[0] + y) * output[1] * S::LANES;
        Self {
            simd,
            input,
            row_step: dilation * width * S::LANES,
            weights: depthwise.weights.as_ptr().wrapping_add(weights),
            kernel: [kernel_rows.len(), kernel[1]],
            tap_step: geometry.dilation[1],
            stride: if STRIDE == 0 { geometry.stride[1] } else { STRIDE },
            left,
            writer: &depthwise.writer,
            affine: depthwise.writer.vectors(simd, channel),
            to: Destination { output: depthwise.output.as_f32(), at, block: 0 },
        }
    }

    /// Computes the output pixels `x..x + COUNT` from the taps `taps` of each kernel row. Returns `COUNT`.
    ///
    /// # Safety
    /// All these taps lie within the image, and the pixels lie within the row. No other task accesses the row.
    #[inline(always)]
    unsafe fn pixels<const COUNT: usize>(&self, x: usize, taps: Range<usize>) -> usize {
        let simd = self.simd;
        // The index of the column that tap 0 reads for the first pixel, with wrapping arithmetic: a column in the
        // padding on the left has a huge index.
        let column = (x * self.stride).wrapping_sub(self.left);
        let mut sums = [[simd.zero()]; COUNT];
        for ky in 0..self.kernel[0] {
            let row = self.input.wrapping_add(ky * self.row_step);
            for kx in taps.clone() {
                let column = column.wrapping_add(kx * self.tap_step);
                let first = row.wrapping_add(column.wrapping_mul(S::LANES));
                // SAFETY: the weights have every tap.
                let weight = unsafe { simd.load(self.weights.add((ky * self.kernel[1] + kx) * S::LANES)) };
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    let pixel = unsafe { simd.load(first.add(p * self.stride * S::LANES)) };
                    sum[0] = simd.fma(pixel, weight, sum[0]);
                }
            }
        }
        let to = Destination { at: self.to.at + x * S::LANES, ..self.to };
        // SAFETY: guaranteed by the caller.
        unsafe { self.writer.store_vectors(simd, self.affine.shifted(simd, sums), &self.affine, to) }
        COUNT
    }
}
