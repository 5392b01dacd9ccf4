//! A dilated convolution, computed as an undilated one on more images. All pixels whose rows are equal modulo the
//! dilation and whose columns are equal modulo the dilation form a *phase*. A phase is an image of the undilated
//! convolution, because the kernel reads its pixels without gaps.

use std::mem::MaybeUninit;

use candle_core::Result;

use crate::conv::cpu::elements::{Elements, OutputPtr};
use crate::conv::cpu::operand::Call;
use crate::conv::{ConvGeometry, ConvShape};
use crate::memory::allocate;
use crate::parallel::for_each_chunk;

/// The division of a dilated convolution's images into phases: `[image][row phase][column phase]`.
pub(super) struct Phases {
    /// The dilated convolution.
    shape: ConvShape,
    dilation: usize,
    /// The undilated convolution. Its batch is `dilation²` times as large, and its images include the padding.
    pub undilated: ConvShape,
}

impl Phases {
    /// Returns `None` if the convolution has no dilation, different dilations on the two axes, or a stride other
    /// than 1.
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
        let undilated = ConvShape { batch, input, output, geometry, ..*shape };
        Some(Self { shape: *shape, dilation, undilated })
    }

    /// Splits the operands of `call` into phases in f32, passes them to `convolve`, which computes the undilated
    /// convolution, and joins the results in `output`.
    ///
    /// # Safety
    /// `output` has the elements of the shape's output, and no other task accesses them.
    pub unsafe fn run(
        &self,
        call: &Call<'_>,
        output: OutputPtr,
        convolve: impl FnOnce(&Call<'_>, OutputPtr),
    ) -> Result<()> {
        let shape = &self.shape;
        let before = shape.geometry.padding.map(|[before, _]| before);
        let input = self.split(call.input, shape.in_channels, shape.input, before, self.undilated.input)?;
        let residual = call.residual.map(|residual| {
            self.split(residual, shape.out_channels, shape.output, [0; 2], self.undilated.output)
        });
        let residual = residual.transpose()?;
        let elements = self.undilated.output_elements();
        let mut results = allocate(elements)?;
        let residual = residual.as_deref().map(Elements::F32);
        let call = Call { input: Elements::F32(&input), residual, ..*call };
        convolve(&call, OutputPtr::F32(results.as_mut_ptr()));
        // SAFETY: `convolve` writes all `results`. The caller guarantees the bounds of the output.
        unsafe {
            results.set_len(elements);
            self.join(&results, output);
        }
        Ok(())
    }

    /// Splits images `[image][channel][height, width]` of `size`, preceded by `before` rows and columns of zeros, into
    /// phases `[image][row phase][column phase][channel][rows, columns]` of `phase_size`. Zeros fill the rest of each
    /// phase.
    fn split(
        &self,
        images: Elements<'_>,
        channels: usize,
        size: [usize; 2],
        before: [usize; 2],
        phase_size: [usize; 2],
    ) -> Result<Vec<f32>> {
        match images {
            Elements::F32(images) => self.split_as(images, |x| x, channels, size, before, phase_size),
            Elements::Half(half, images) => {
                self.split_as(images, |x| half.widen(x), channels, size, before, phase_size)
            }
        }
    }

    /// Splits images like [`split`](Self::split) and converts each element with `widen`.
    fn split_as<T: Copy + Sync>(
        &self,
        images: &[T],
        widen: impl Fn(T) -> f32 + Sync,
        channels: usize,
        size: [usize; 2],
        before: [usize; 2],
        phase_size: [usize; 2],
    ) -> Result<Vec<f32>> {
        let (dilation, [height, width]) = (self.dilation, size);
        let elements = self.undilated.batch * channels * phase_size[0] * phase_size[1];
        let mut phases = allocate(elements)?;
        phases.resize(elements, 0.);
        for_each_chunk(&mut phases, phase_size[0] * phase_size[1], |index, plane| {
            let (index, channel) = (index / channels, index % channels);
            let (image, [row_phase, column_phase]) = self.phase(index);
            let image = &images[(image * channels + channel) * height * width..][..height * width];
            // The phase's first column that is not padding, and its column in the image.
            let first = before[1].saturating_sub(column_phase).div_ceil(dilation);
            let column = first * dilation + column_phase - before[1];
            for (i, row) in plane.chunks_exact_mut(phase_size[1]).enumerate() {
                let y = (i * dilation + row_phase).wrapping_sub(before[0]);
                if y < height && column < width && first < row.len() {
                    let pixels = image[y * width..][..width][column..].iter().step_by(dilation);
                    row[first..].iter_mut().zip(pixels).for_each(|(to, pixel)| *to = widen(*pixel));
                }
            }
        });
        Ok(phases)
    }

    /// Copies the results of the undilated convolution to their places in the output.
    ///
    /// # Safety
    /// `output` has the elements of the shape's output, and no other task accesses them.
    unsafe fn join(&self, results: &[f32], output: OutputPtr) {
        match output {
            // SAFETY: guaranteed by the caller.
            OutputPtr::F32(output) => unsafe { self.join_as(results, output, |x| x) },
            // SAFETY: as above.
            OutputPtr::Half(half, output) => unsafe { self.join_as(results, output, |x| half.round(x)) },
        }
    }

    /// # Safety
    /// The requirements of [`join`](Self::join).
    unsafe fn join_as<T: Send>(&self, results: &[f32], output: *mut T, convert: impl Fn(f32) -> T + Sync) {
        let (dilation, channels) = (self.dilation, self.shape.out_channels);
        let ([height, width], [rows, columns]) = (self.shape.output, self.undilated.output);
        // SAFETY: guaranteed by the caller.
        let output = unsafe {
            std::slice::from_raw_parts_mut(output.cast::<MaybeUninit<T>>(), self.shape.output_elements())
        };
        for_each_chunk(output, height * width, |index, plane| {
            let (image, channel) = (index / channels, index % channels);
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                for column_phase in 0..dilation.min(width) {
                    let phase = (image * dilation + y % dilation) * dilation + column_phase;
                    let from = ((phase * channels + channel) * rows + y / dilation) * columns;
                    let pixels = results[from..][..columns].iter();
                    row[column_phase..].iter_mut().step_by(dilation).zip(pixels).for_each(|(to, x)| {
                        to.write(convert(*x));
                    });
                }
            }
        });
    }

    /// Returns the image of the dilated convolution to which the phase `index` belongs, and the phase's
    /// `[row phase, column phase]` in this image.
    fn phase(&self, index: usize) -> (usize, [usize; 2]) {
        let (rest, column) = (index / self.dilation, index % self.dilation);
        (rest / self.dilation, [rest % self.dilation, column])
    }
}
