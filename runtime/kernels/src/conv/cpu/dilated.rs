//! A dilated convolution as several plain ones: every `dilation`-th pixel on each axis, from one of the
//! first on, is an image of its own, which the kernel reads without a gap.

use super::operand::Call;
use super::{Elements, OutputPtr};
use crate::conv::{ConvGeometry, ConvShape};
use crate::memory::allocate;
use crate::parallel::for_each_chunk;
use crate::simd::Half;
use candle_core::Result;
use std::mem::MaybeUninit;

/// The images that a dilated convolution's are split into: `[image][row phase][column phase]`.
pub(super) struct Phases {
    /// Of the convolution that is split.
    shape: ConvShape,
    dilation: usize,
    /// Of the plain one: the batch is `dilation²` times as large, and has the padding in its pixels.
    pub plain: ConvShape,
}

impl Phases {
    /// `None` for a convolution that is not dilated, or strided, or dilated differently on the axes.
    pub fn of(shape: &ConvShape) -> Option<Self> {
        let ConvGeometry { stride, padding, dilation, groups } = shape.geometry;
        if dilation[0] == 1 || dilation[0] != dilation[1] || stride != [1; 2] {
            return None;
        }
        let dilation = dilation[0];
        let input = [0, 1].map(|i| (shape.input[i] + padding[i][0] + padding[i][1]).div_ceil(dilation));
        let geometry = ConvGeometry { groups, ..ConvGeometry::default() };
        let output = geometry.output_size(input, shape.kernel)?;
        let batch = shape.batch.checked_mul(dilation.checked_mul(dilation)?)?;
        let plain = ConvShape { batch, input, output, geometry, ..*shape };
        Some(Self { shape: *shape, dilation, plain })
    }

    /// Calls `plain` with the images and the residual of the plain convolution, and writes what it gives to the
    /// output's places.
    ///
    /// # Safety
    /// `output` has the elements of the shape's output, and nothing else refers to them.
    pub unsafe fn run(
        &self,
        call: &Call<'_>,
        output: OutputPtr,
        plain: impl FnOnce(Elements<'_>, Option<Elements<'_>>, OutputPtr),
    ) -> Result<()> {
        let shape = &self.shape;
        let before = shape.geometry.padding.map(|[before, _]| before);
        let input = self.split(call.input, shape.in_channels, shape.input, before, self.plain.input)?;
        let residual = call.residual.map(|residual| {
            self.split(residual, shape.out_channels, shape.output, [0; 2], self.plain.output)
        });
        let (residual, elements) = (residual.transpose()?, self.plain.output_elements());
        match output {
            // SAFETY: `plain` writes all elements; those of the output are the caller's promise.
            OutputPtr::F32(to) => unsafe {
                let mut parts = allocate(elements)?;
                plain(
                    input.pixels(),
                    residual.as_ref().map(Parts::pixels),
                    OutputPtr::F32(parts.as_mut_ptr()),
                );
                parts.set_len(elements);
                self.join(&parts, to);
            },
            // SAFETY: as above.
            OutputPtr::Half(half, to) => unsafe {
                let mut parts = allocate(elements)?;
                let target = OutputPtr::Half(half, parts.as_mut_ptr());
                plain(input.pixels(), residual.as_ref().map(Parts::pixels), target);
                parts.set_len(elements);
                self.join(&parts, to);
            },
        }
        Ok(())
    }

    /// As [`split_images`](Self::split_images), of images of any elements.
    fn split(
        &self,
        images: Elements<'_>,
        channels: usize,
        size: [usize; 2],
        before: [usize; 2],
        part: [usize; 2],
    ) -> Result<Parts> {
        Ok(match images {
            Elements::F32(images) => Parts::Single(self.split_images(images, channels, size, before, part)?),
            Elements::Half(half, images) => {
                Parts::Half(half, self.split_images(images, channels, size, before, part)?)
            }
        })
    }

    /// Splits images `[image][channel]` of `size`, with so many zeros `before` each axis, into phases of
    /// `part` rows and columns, zeros after their ends.
    fn split_images<T: Copy + Default + Send + Sync>(
        &self,
        images: &[T],
        channels: usize,
        size: [usize; 2],
        before: [usize; 2],
        part: [usize; 2],
    ) -> Result<Vec<T>> {
        let (dilation, [height, width]) = (self.dilation, size);
        let elements = self.plain.batch * channels * part[0] * part[1];
        let mut parts = allocate(elements)?;
        parts.resize(elements, T::default());
        for_each_chunk(&mut parts, part[0] * part[1], |index, plane| {
            let (index, channel) = (index / channels, index % channels);
            let (image, [row_phase, column_phase]) = self.phase(index);
            let image = &images[(image * channels + channel) * height * width..][..height * width];
            // The first column within the image.
            let first = before[1].saturating_sub(column_phase).div_ceil(dilation);
            let column = first * dilation + column_phase - before[1];
            for (i, row) in plane.chunks_exact_mut(part[1]).enumerate() {
                let y = (i * dilation + row_phase).wrapping_sub(before[0]);
                if y < height && column < width && first < row.len() {
                    let pixels = image[y * width..][..width][column..].iter().step_by(dilation);
                    row[first..].iter_mut().zip(pixels).for_each(|(to, pixel)| *to = *pixel);
                }
            }
        });
        Ok(parts)
    }

    /// Writes the output of the convolution from that of the plain one.
    ///
    /// # Safety
    /// `output` has the elements of the shape's output, and nothing else refers to them.
    unsafe fn join<T: Copy + Send + Sync>(&self, parts: &[T], output: *mut T) {
        let (dilation, channels) = (self.dilation, self.shape.out_channels);
        let ([height, width], [rows, columns]) = (self.shape.output, self.plain.output);
        let output = output.cast::<MaybeUninit<T>>();
        // SAFETY: the caller's promise.
        let output = unsafe { std::slice::from_raw_parts_mut(output, self.shape.output_elements()) };
        for_each_chunk(output, height * width, |index, plane| {
            let (image, channel) = (index / channels, index % channels);
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                for phase in 0..dilation.min(width) {
                    let part = (image * dilation + y % dilation) * dilation + phase;
                    let from = ((part * channels + channel) * rows + y / dilation) * columns;
                    let pixels = parts[from..][..columns].iter();
                    row[phase..].iter_mut().step_by(dilation).zip(pixels).for_each(|(to, x)| {
                        to.write(*x);
                    });
                }
            }
        });
    }

    /// The image and the phases of a part.
    fn phase(&self, part: usize) -> (usize, [usize; 2]) {
        let (rest, column) = (part / self.dilation, part % self.dilation);
        (rest / self.dilation, [rest % self.dilation, column])
    }
}

/// The images of the plain convolution.
enum Parts {
    Single(Vec<f32>),
    Half(Half, Vec<u16>),
}

impl Parts {
    fn pixels(&self) -> Elements<'_> {
        match self {
            Self::Single(parts) => Elements::F32(parts),
            Self::Half(half, parts) => Elements::Half(*half, parts),
        }
    }
}
