//! Operations that run in the same task as the convolution that produces their input. They read the results of a few
//! output channels at a time, through windows of adjacent pixels, while these results are in the L1 or L2 cache.
//!
//! A consumer processes each channel separately. To add one, add a variant to [`FusedConsumer`] and to [`Consumer`].

use std::ops::Range;
use std::sync::Arc;

use crate::conv::ConvShape;
use crate::layout::Layout;
use crate::pool::PoolGeometry;
use crate::simd::{Isa, Simd};

use super::depthwise::nchwc::{DepthwiseRows, PackedDepthwise};
use super::elements::OutputPtr;
use super::operand::Call;

/// An operation that is fused into the convolution that produces its input.
#[derive(Clone, Copy)]
pub enum FusedConsumer<'a> {
    /// Max pooling.
    MaxPool(PoolGeometry),
    /// A depthwise convolution of this shape. Its input is the producer's output, so the input of the
    /// [`Call`] is empty.
    Depthwise(&'a ConvShape, Call<'a>),
}

/// The windows over the rows of the producer's results. Each row of the consumer's results reads one window of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// `[height, width]` of the producer's results.
    pub size: [usize; 2],
    /// The number of rows of the consumer's results.
    pub rows: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    /// Returns the rows of the producer's results under the windows of the given rows of the consumer's results. Every
    /// window must overlap the producer's results.
    pub fn input_rows(&self, rows: Range<usize>) -> Range<usize> {
        let start = (rows.start * self.stride).saturating_sub(self.padding);
        let end = ((rows.end - 1) * self.stride + self.kernel).saturating_sub(self.padding);
        start..end.min(self.size[0])
    }

    /// Returns the maximum number of rows that [`input_rows`](Self::input_rows) returns for a range of `rows` rows.
    pub fn max_rows(&self, rows: usize) -> usize {
        self.size[0].min((rows - 1) * self.stride + self.kernel)
    }
}

impl FusedConsumer<'_> {
    /// Returns the windows over the producer's results, whose `[height, width]` is `size`, or `None` if the consumer
    /// cannot be fused.
    pub(super) fn windows(&self, size: [usize; 2]) -> Option<Windows> {
        let (kernel, stride, padding, rows) = match self {
            Self::MaxPool(PoolGeometry { dilation: [1, 1], kernel, stride, padding, .. }) => {
                let [rows, _] = self.output_size(size)?;
                (kernel[0], stride[0], padding[0], rows)
            }
            Self::MaxPool(_) => return None,
            Self::Depthwise(shape, _) => {
                let ([top, bottom], kernel) = (shape.geometry.padding[0], shape.kernel[0]);
                // With more padding, a window could lie entirely outside of the producer's results.
                (shape.input == size && top.max(bottom) < kernel).then_some(())?;
                (kernel, shape.geometry.stride[0], top, shape.output[0])
            }
        };
        Some(Windows { size, rows, kernel, stride, padding })
    }

    /// Returns `[height, width]` of the results for a producer's output of `size`.
    fn output_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        match self {
            Self::MaxPool(geometry) => geometry.output_size(size).ok(),
            Self::Depthwise(shape, _) => Some(shape.output),
        }
    }

    /// Returns the number of floats of the consumer's results for a producer of the shape `shape`, or `None` if the
    /// consumer does not support the producer's output.
    pub(super) fn output_len(&self, shape: &ConvShape, lanes: usize) -> Option<usize> {
        let [height, width] = self.output_size(shape.output)?;
        Some(Layout::Nchwc.elements([shape.batch, shape.out_channels, height, width], lanes))
    }

    /// Returns the packed weight, or `None` if the consumer has no weight.
    pub(super) fn packed(&self, isa: Isa) -> Option<Arc<PackedDepthwise>> {
        match self {
            Self::MaxPool(_) => None,
            Self::Depthwise(shape, call) => Some(PackedDepthwise::get(shape, call, isa)),
        }
    }
}

/// A consumer with its output and packed weight.
pub(super) enum Consumer<'a> {
    MaxPool(MaxPool),
    Depthwise(DepthwiseRows<'a>),
}

impl<'a> Consumer<'a> {
    /// Returns `None` if the consumer cannot be computed a few rows at a time. `size` is the `[height, width]` of the
    /// producer's results.
    pub fn new(
        consumer: &FusedConsumer<'a>,
        packed: Option<&'a PackedDepthwise>,
        size: [usize; 2],
        output: OutputPtr,
    ) -> Option<Self> {
        match (consumer, packed) {
            (FusedConsumer::MaxPool(geometry), _) => {
                let results = geometry.output_size(size).ok()?;
                Some(Self::MaxPool(MaxPool { geometry: *geometry, size, results, output }))
            }
            (FusedConsumer::Depthwise(shape, call), Some(packed)) => {
                let depthwise = DepthwiseRows::new(shape, packed, call, output);
                depthwise.supports_rows().then_some(Self::Depthwise(depthwise))
            }
            (FusedConsumer::Depthwise(..), None) => None,
        }
    }

    /// Computes some rows of one block of channels. `index` is the index of the block, counted across all images.
    ///
    /// # Safety
    /// `plane` must be the address of pixel (0, 0) of the block in the input. If the memory contains only some rows of
    /// the input, this address may be outside of the memory. The memory must contain all input rows on which these
    /// output rows depend. No other task may access these output rows.
    #[inline(always)]
    pub unsafe fn compute_rows<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self {
                Self::MaxPool(pool) => pool.compute_rows(simd, index, plane, rows),
                Self::Depthwise(depthwise) => depthwise.compute_rows(simd, index, plane, rows),
            }
        }
    }
}

/// Max pooling over the producer's results.
pub(super) struct MaxPool {
    geometry: PoolGeometry,
    /// `[height, width]` of the producer's results.
    size: [usize; 2],
    /// `[height, width]` of the consumer's results.
    results: [usize; 2],
    output: OutputPtr,
}

impl MaxPool {
    /// # Safety
    /// The requirements of [`Consumer::compute_rows`].
    #[inline(always)]
    unsafe fn compute_rows<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        let [height, width] = self.results;
        for y in rows {
            let taps = self.taps(0, y);
            let output = self.output.as_f32().wrapping_add((index * height + y) * width * S::LANES);
            for x in 0..width {
                let mut largest = simd.splat(f32::NEG_INFINITY);
                for row in taps.clone() {
                    for column in self.taps(1, x) {
                        let pixel = plane.wrapping_add((row * self.size[1] + column) * S::LANES);
                        // SAFETY: the output row depends on this input row, so the caller guarantees that it is in
                        // memory. The column lies within the row.
                        largest = simd.max_nan(largest, unsafe { simd.load(pixel) });
                    }
                }
                // SAFETY: the pixel is in a row of the results that no other task accesses.
                unsafe { simd.store(output.add(x * S::LANES), largest) };
            }
        }
    }

    /// Returns the part of a window along an axis that lies within the producer's results.
    #[inline(always)]
    fn taps(&self, axis: usize, index: usize) -> Range<usize> {
        let PoolGeometry { kernel, stride, padding, .. } = &self.geometry;
        let first = index * stride[axis];
        let end = (first + kernel[axis]).saturating_sub(padding[axis]).min(self.size[axis]);
        first.saturating_sub(padding[axis])..end
    }
}
