//! Operations that run in the same task as the convolution that produces their input: they read its results panel by
//! panel, through windows of neighboring pixels, while those are in a near cache.
//!
//! A consumer sees each channel by itself. To add one, add a variant to [`FusedConsumer`] and to [`Consumer`].

use super::depthwise::nchwc::{Output, Packed, Planes};
use super::operand::Call;
use super::packed::Packing;
use crate::conv::ConvShape;
use crate::layout::Layout;
use crate::pool::PoolGeometry;
use crate::simd::{Isa, Simd};
use std::ops::Range;
use std::sync::Arc;

/// What follows a convolution.
#[derive(Clone, Copy)]
pub(crate) enum FusedConsumer<'a> {
    /// The largest element of each window.
    MaxPool(PoolGeometry),
    /// A depthwise convolution; its input is what the producer makes, and its call has none.
    Depthwise { shape: &'a ConvShape, call: &'a Call<'a>, packing: Option<Packing<'a>> },
}

/// The producer's rows that each row of a consumer's results reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// `[height, width]` of what is read.
    pub size: [usize; 2],
    /// Rows of the results.
    pub rows: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    /// Returns what some rows of the results read. No window lies outside altogether.
    pub fn reads(&self, rows: Range<usize>) -> Range<usize> {
        let start = (rows.start * self.stride).saturating_sub(self.padding);
        let end = ((rows.end - 1) * self.stride + self.kernel).saturating_sub(self.padding);
        start..end.min(self.size[0])
    }

    /// Returns the most rows that so many rows of the results read.
    pub fn most(&self, rows: usize) -> usize {
        self.size[0].min((rows - 1) * self.stride + self.kernel)
    }
}

impl FusedConsumer<'_> {
    /// Returns the windows over the producer's results, of a size of `[height, width]`, or `None` if the consumer
    /// cannot be fused.
    pub fn windows(&self, size: [usize; 2]) -> Option<Windows> {
        let (kernel, stride, padding, rows) = match self {
            Self::MaxPool(PoolGeometry { dilation: [1, 1], kernel, stride, padding, .. }) => {
                let [rows, _] = self.output(size)?;
                (kernel[0], stride[0], padding[0], rows)
            }
            Self::MaxPool(_) => return None,
            Self::Depthwise { shape, .. } => {
                let ([top, bottom], kernel) = (shape.geometry.padding[0], shape.kernel[0]);
                (shape.input == size && top.max(bottom) < kernel).then_some(())?;
                (kernel, shape.geometry.stride[0], top, shape.output[0])
            }
        };
        Some(Windows { size, rows, kernel, stride, padding })
    }

    /// Returns `[height, width]` of the results.
    fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        match self {
            Self::MaxPool(geometry) => geometry.output_size(size).ok(),
            Self::Depthwise { shape, .. } => Some(shape.output),
        }
    }

    /// Returns the floats of the results after a convolution of this `shape`.
    pub fn output_len(&self, shape: &ConvShape, lanes: usize) -> Option<usize> {
        let [height, width] = self.output(shape.output)?;
        Some(Layout::Nchwc.elements([shape.batch, shape.out_channels, height, width], lanes))
    }

    /// Returns the packed weight, if the consumer has one.
    pub(super) fn packed(&self, isa: Isa) -> Option<Arc<Packed>> {
        match self {
            Self::MaxPool(_) => None,
            Self::Depthwise { shape, call, packing } => Some(Packed::get(shape, call.weight, *packing, isa)),
        }
    }
}

/// A consumer that is ready to run.
pub(super) enum Consumer<'a> {
    MaxPool(MaxPool),
    Depthwise(Planes<'a>),
}

impl<'a> Consumer<'a> {
    /// Returns `None` if the consumer needs all of its input at once.
    pub fn new(
        consumer: &'a FusedConsumer<'_>,
        packed: Option<&'a Packed>,
        size: [usize; 2],
        output: *mut f32,
    ) -> Option<Self> {
        match (consumer, packed) {
            (FusedConsumer::MaxPool(geometry), _) => {
                let results = geometry.output_size(size).ok()?;
                Some(Self::MaxPool(MaxPool { geometry: *geometry, size, results, output: Output(output) }))
            }
            (FusedConsumer::Depthwise { shape, call, .. }, Some(packed)) => {
                let planes = Planes::new(shape, packed, call, Output(output));
                planes.supports_rows().then_some(Self::Depthwise(planes))
            }
            (FusedConsumer::Depthwise { .. }, None) => None,
        }
    }

    /// Computes some rows of the block of channels with the number `index` among those of all images.
    ///
    /// # Safety
    /// `plane` is where the block's pixels would begin, of which the rows exist that the results read. Nothing else
    /// refers to the results.
    #[inline(always)]
    pub unsafe fn rows<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::MaxPool(pool) => pool.rows_of(simd, index, plane, rows),
                Self::Depthwise(planes) => planes.rows_of(simd, index, plane, rows),
            }
        }
    }
}

/// Windows whose largest elements are results.
pub(super) struct MaxPool {
    geometry: PoolGeometry,
    /// `[height, width]` of what is read, and of the results.
    size: [usize; 2],
    results: [usize; 2],
    output: Output,
}

impl MaxPool {
    /// # Safety
    /// As [`Consumer::rows`].
    #[inline(always)]
    unsafe fn rows_of<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        let [height, width] = self.results;
        for y in rows {
            let taps = self.taps(0, y);
            let output = self.output.0.wrapping_add((index * height + y) * width * S::LANES);
            for x in 0..width {
                let mut largest = simd.splat(f32::NEG_INFINITY);
                for row in taps.clone() {
                    for column in self.taps(1, x) {
                        let pixel = plane.wrapping_add((row * self.size[1] + column) * S::LANES);
                        // SAFETY: the row is one that the result reads, and has this column.
                        largest = simd.larger(largest, unsafe { simd.load(pixel) });
                    }
                }
                // SAFETY: a pixel of the results, in a row that nothing else refers to.
                unsafe { simd.store(output.add(x * S::LANES), largest) };
            }
        }
    }

    /// Returns what a window sees along an axis.
    #[inline(always)]
    fn taps(&self, axis: usize, index: usize) -> Range<usize> {
        let PoolGeometry { kernel, stride, padding, .. } = &self.geometry;
        let first = index * stride[axis];
        let end = (first + kernel[axis]).saturating_sub(padding[axis]).min(self.size[axis]);
        first.saturating_sub(padding[axis])..end
    }
}
