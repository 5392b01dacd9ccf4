//! The masked gradient: the gradient of the activation's input. It is the gradient of the output times the activation's
//! slope, which is computed from the output.
//!
//! The pass that computes the masked gradient also sums each plane, for the gradient of the bias.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use crate::activation::{Activation, Function, with_function};
use crate::memory::{vec_written_by, write_zeros};
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Task};

use super::extent::Extent;
use super::tasks::run_tasks;

/// The masked gradient: `[batch, channels]` planes, each surrounded by a margin of zeros.
#[derive(Default)]
pub(super) struct MaskedGrad<R> {
    pub data: Vec<R>,
    /// The distance between rows.
    pub pitch: usize,
    /// The distance between planes.
    pub plane_stride: usize,
    /// The offset, in a plane, of the gradient of output pixel `[0, 0]`: the first element after the margin.
    pub origin: usize,
    /// The sum of each plane.
    pub sums: Vec<R>,
}

/// The number of zeros before and after the elements of each axis: `[[top, bottom], [left, right]]`.
pub(super) type Margin = [[usize; 2]; 2];

/// Returns the masked gradient. `output` and `grad` are `[batch, channels, height, width]`.
pub(super) fn masked_grad<R: Real>(
    isa: Isa,
    extent: &Extent,
    activation: Activation,
    margin: Margin,
    output: &[R],
    grad: &[R],
) -> MaskedGrad<R> {
    let [height, width] = [0, 1].map(|i| extent.axes[i].output);
    let pitch = margin[1][0] + width + margin[1][1];
    let plane_stride = pitch * (margin[0][0] + height + margin[0][1]);
    let planes = extent.batch * extent.groups * extent.group_out_channels;
    let mut sums = vec![R::default(); planes];
    let origin = margin[0][0] * pitch + margin[1][0];

    let pixels = height * width;
    let task_planes = (1usize << 14).div_ceil(pixels);
    let fill = |data: &mut [MaybeUninit<R>]| {
        let (data, slack) = data.split_at_mut(planes * plane_stride);
        write_zeros(slack);
        let parts = data.chunks_mut(task_planes * plane_stride).zip(sums.chunks_mut(task_planes));
        let task_pixels = task_planes * pixels;
        let parts = parts.zip(output.chunks(task_pixels).zip(grad.chunks(task_pixels)));
        let tasks = parts.map(|((masked, sums), (output, grad))| MaskTask {
            activation,
            width,
            pixels,
            pitch,
            plane_stride,
            origin,
            masked,
            sums,
            output,
            grad,
        });
        // Reading an element from memory costs about as much as eight multiply-adds.
        run_tasks(isa, 8 * planes * pixels, tasks.collect());
    };
    // Kernels may read a whole vector at the end of the last row, hence the slack of `MAX_LANES`.
    // SAFETY: the slack and the tasks' planes cover all of the data. The slack is zeroed, and each plane is zeroed or
    // fully written.
    let data = unsafe { vec_written_by(planes * plane_stride + MAX_LANES, fill) };
    MaskedGrad { data, pitch, plane_stride, origin, sums }
}

/// The task that computes some planes of the masked gradient.
struct MaskTask<'a, R> {
    activation: Activation,
    /// The width of an image.
    width: usize,
    /// The number of pixels of an image.
    pixels: usize,
    /// `pitch`, `plane_stride` and `origin` are those of [`MaskedGrad`].
    pitch: usize,
    plane_stride: usize,
    origin: usize,
    masked: &'a mut [MaybeUninit<R>],
    sums: &'a mut [R],
    output: &'a [R],
    grad: &'a [R],
}

impl<R: Real> Task<R> for MaskTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        with_function!(self.activation, f => self.write_planes(|y, grad| f.gradient(grad, y)));
    }
}

impl<R: Real> MaskTask<'_, R> {
    /// Writes the planes and their sums. `gradient` maps an output and its gradient to the masked gradient.
    #[inline(always)]
    fn write_planes(self, gradient: impl Fn(R, R) -> R) {
        let planes = self.output.chunks(self.pixels).zip(self.grad.chunks(self.pixels));
        let results = self.masked.chunks_mut(self.plane_stride).zip(self.sums);
        for ((masked, sum), (output, grad)) in results.zip(planes) {
            let mut partial = [R::default(); 8];
            if self.plane_stride == self.pixels {
                accumulate(&mut partial, write_gradients(&gradient, masked, output, grad));
            } else {
                write_zeros(masked);
                let rows = output.chunks(self.width).zip(grad.chunks(self.width));
                for (to, (output, grad)) in masked[self.origin..].chunks_mut(self.pitch).zip(rows) {
                    accumulate(&mut partial, write_gradients(&gradient, to, output, grad));
                }
            }
            *sum = partial.into_iter().fold(R::default(), |a, b| a + b);
        }
    }
}

/// Writes the masked gradients to the first elements of `to` and returns those elements.
#[inline(always)]
fn write_gradients<'a, R: Real>(
    gradient: impl Fn(R, R) -> R,
    to: &'a mut [MaybeUninit<R>],
    output: &[R],
    grad: &[R],
) -> &'a [R] {
    let to = &mut to[..output.len()];
    assert_eq!(to.len(), grad.len());
    for (to, (&y, &grad)) in to.iter_mut().zip(output.iter().zip(grad)) {
        to.write(gradient(y, grad));
    }
    // SAFETY: the loop has written every element, because `output` and `grad` have the length of `to`.
    unsafe { &*(std::ptr::from_mut(to) as *const [R]) }
}

/// Adds the elements of `row` to eight independent sums, so that the compiler can vectorize the additions.
#[inline(always)]
fn accumulate<R: Real>(sums: &mut [R; 8], row: &[R]) {
    let chunks = row.chunks_exact(8);
    for (sum, &x) in sums.iter_mut().zip(chunks.remainder()) {
        *sum += x;
    }
    for chunk in chunks {
        for i in 0..8 {
            sums[i] += chunk[i];
        }
    }
}

/// Returns the gradient of the bias `[channels]`: the sums of the planes, added over the batch.
pub(super) fn bias_gradient<R: Real>(channels: usize, sums: &[R]) -> Vec<R> {
    let total = |c| sums.iter().skip(c).step_by(channels).map(|sum| sum.to_f64()).sum();
    (0..channels).map(|c| R::from_f64(total(c))).collect()
}

impl<R: Real> MaskedGrad<R> {
    /// Returns the planes without their margins.
    pub fn cropped(&self, extent: &Extent) -> Cow<'_, [R]> {
        let pixels = extent.output_plane();
        let count = extent.batch * extent.groups * extent.group_out_channels;
        if self.plane_stride == pixels {
            return Cow::Borrowed(&self.data[..count * pixels]);
        }
        let width = extent.axes[1].output;
        let mut cropped = vec![R::default(); count * pixels];
        let task_planes = (1usize << 14).div_ceil(pixels);
        for_each_chunk(&mut cropped, task_planes * pixels, |task, to| {
            let from = self.data.chunks_exact(self.plane_stride).skip(task * task_planes);
            for (to, from) in to.chunks_exact_mut(pixels).zip(from) {
                let rows = from[self.origin..].chunks(self.pitch);
                to.chunks_exact_mut(width)
                    .zip(rows)
                    .for_each(|(to, from)| to.copy_from_slice(&from[..width]));
            }
        });
        Cow::Owned(cropped)
    }

    /// Returns `true` if the sums of all planes are finite, which implies that all elements are finite. Returns `false`
    /// also for finite elements whose sum overflows.
    pub fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.to_f64().is_finite())
    }
}
