//! What reads a convolution's results piece by piece, while they are in a near cache: an operation that sees each
//! channel by itself, through windows of neighbouring pixels.

use super::depthwise::{Packed, Planes};
use super::{Epilogue, Output, Weight, blocked_len};
use crate::conv::ConvShape;
use crate::pool::PoolGeometry;
use crate::simd::{Isa, Simd};
use std::ops::Range;
use std::sync::Arc;

/// An operation behind a convolution.
#[derive(Clone, Copy)]
pub enum Behind<'a> {
    /// The largest element of each window.
    MaxPool(PoolGeometry),
    /// One channel to one channel; an input of this shape is what the convolution before it makes.
    Depthwise { shape: &'a ConvShape, weight: Weight<'a>, epilogue: Epilogue<'a> },
}

/// The rows that each row of the results reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// `[height, width]` of what is read.
    pub size: [usize; 2],
    /// Of the results.
    pub rows: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    /// What some rows of the results read. No window lies outside altogether.
    pub fn reads(&self, rows: Range<usize>) -> Range<usize> {
        let start = (rows.start * self.stride).saturating_sub(self.padding);
        let end = ((rows.end - 1) * self.stride + self.kernel).saturating_sub(self.padding);
        start..end.min(self.size[0])
    }

    /// The most that so many rows of the results read.
    pub fn most(&self, rows: usize) -> usize {
        self.size[0].min((rows - 1) * self.stride + self.kernel)
    }
}

impl Behind<'_> {
    /// The windows over the results, of a size of `[height, width]`; none where they may not be read so.
    pub(super) fn windows(&self, size: [usize; 2]) -> Option<Windows> {
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

    /// `[height, width]` of the results.
    fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        match self {
            Self::MaxPool(geometry) => geometry.output_size(size).ok(),
            Self::Depthwise { shape, .. } => Some(shape.output),
        }
    }

    /// The floats of the results behind a convolution of this `shape`.
    pub(super) fn output_len(&self, shape: &ConvShape, lanes: usize) -> Option<usize> {
        Some(blocked_len(shape.batch, shape.out_channels, self.output(shape.output)?, lanes))
    }

    /// The packed weight, where there is one.
    pub(super) fn packed(&self, isa: Isa) -> Option<Arc<Packed>> {
        match self {
            Self::MaxPool(_) => None,
            Self::Depthwise { shape, weight, .. } => Some(Packed::get(shape, *weight, isa)),
        }
    }
}

/// An operation that is ready to run.
pub(super) enum Follower<'a> {
    MaxPool(MaxPool),
    Depthwise(Planes<'a>),
}

impl<'a> Follower<'a> {
    /// None where it needs all of its input at once.
    pub fn new(
        behind: &'a Behind<'_>,
        packed: Option<&'a Packed>,
        size: [usize; 2],
        output: Output,
    ) -> Option<Self> {
        match (behind, packed) {
            (Behind::MaxPool(geometry), _) => {
                let rows_and_columns = geometry.output_size(size).ok()?;
                Some(Self::MaxPool(MaxPool { geometry: *geometry, size, results: rows_and_columns, output }))
            }
            (Behind::Depthwise { shape, epilogue, .. }, Some(packed)) => {
                let planes = Planes::new(shape, &[], packed, epilogue, output);
                planes.takes_rows().then_some(Self::Depthwise(planes))
            }
            (Behind::Depthwise { .. }, None) => None,
        }
    }

    /// Computes some rows of the block of channels with this number among those of all images.
    ///
    /// # Safety
    /// `plane` is where the block's pixels would begin, of which the rows are there that the results read. The
    /// results are nobody else's.
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
    /// As [`Follower::rows`].
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
                // SAFETY: a pixel of the results, of a row that is nobody else's.
                unsafe { simd.store(output.add(x * S::LANES), largest) };
            }
        }
    }

    /// What a window sees along an axis.
    #[inline(always)]
    fn taps(&self, axis: usize, index: usize) -> Range<usize> {
        let PoolGeometry { kernel, stride, padding, .. } = &self.geometry;
        let first = index * stride[axis];
        let end = (first + kernel[axis]).saturating_sub(padding[axis]).min(self.size[axis]);
        first.saturating_sub(padding[axis])..end
    }
}
