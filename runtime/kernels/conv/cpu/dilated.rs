//! A dilated convolution as several plain ones: every `dilation`-th pixel on each axis, from one of the
//! first on, is an image of its own, which the kernel reads without a gap.

use super::operand::Values;
use super::reserve;
use crate::kernels::conv::{ConvGeometry, ConvShape};
use crate::kernels::parallel::for_each_chunk;
use candle_core::Result;
use std::borrow::Cow;

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

    /// The operands of the plain convolution.
    pub fn split<'a>(&self, values: &'a Values<'_, f32>) -> Result<Values<'a, f32>> {
        let Self { shape, plain, .. } = self;
        let before = shape.geometry.padding.map(|[before, _]| before);
        let input = self.split_images(&values.input, shape.in_channels, shape.input, before, plain.input)?;
        let residual = values.residual.as_deref().map(|residual| {
            self.split_images(residual, shape.out_channels, shape.output, [0; 2], plain.output)
        });
        Ok(Values {
            input: Cow::Owned(input),
            weight: Cow::Borrowed(&values.weight),
            scale: values.scale.as_deref().map(Cow::Borrowed),
            shift: values.shift.as_deref().map(Cow::Borrowed),
            residual: residual.transpose()?.map(Cow::Owned),
        })
    }

    /// Splits images `[image][channel]` of `size`, with so many zeros `before` each axis, into phases of
    /// `part` rows and columns, zeros after their ends.
    fn split_images(
        &self,
        images: &[f32],
        channels: usize,
        size: [usize; 2],
        before: [usize; 2],
        part: [usize; 2],
    ) -> Result<Vec<f32>> {
        let (dilation, [height, width]) = (self.dilation, size);
        let elements = self.plain.batch * channels * part[0] * part[1];
        let mut parts = reserve(elements)?;
        parts.resize(elements, 0.);
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

    /// The output of the convolution from that of the plain one.
    pub fn join(&self, parts: &[f32]) -> Result<Vec<f32>> {
        let (dilation, channels) = (self.dilation, self.shape.out_channels);
        let ([height, width], [rows, columns]) = (self.shape.output, self.plain.output);
        let mut output = reserve(self.shape.output_elements())?;
        output.resize(self.shape.output_elements(), 0.);
        for_each_chunk(&mut output, height * width, |index, plane| {
            let (image, channel) = (index / channels, index % channels);
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                for phase in 0..dilation.min(width) {
                    let part = (image * dilation + y % dilation) * dilation + phase;
                    let from = ((part * channels + channel) * rows + y / dilation) * columns;
                    let pixels = parts[from..][..columns].iter();
                    row[phase..].iter_mut().step_by(dilation).zip(pixels).for_each(|(to, x)| *to = *x);
                }
            }
        });
        Ok(output)
    }

    /// The image and the phases of a part.
    fn phase(&self, part: usize) -> (usize, [usize; 2]) {
        let (rest, column) = (part / self.dilation, part % self.dilation);
        (rest / self.dilation, [rest % self.dilation, column])
    }
}
