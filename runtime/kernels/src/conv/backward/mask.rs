//! The masked gradient: the gradient of the activation's input, `grad · act'(output)`.
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

/// The masked gradient: `[batch, channels]` planes, each with a margin of zeros.
#[derive(Default)]
pub(super) struct MaskedGrad<R> {
    pub data: Vec<R>,
    /// The distance between rows.
    pub pitch: usize,
    /// The distance between planes.
    pub plane: usize,
    /// The offset of the first element after the margin in a plane.
    pub origin: usize,
    /// The sum of each plane.
    pub sums: Vec<R>,
}

/// The numbers of zeros `[before, after]` on each axis.
pub(super) type Margin = [[usize; 2]; 2];

/// Computes the masked gradient.
pub(super) fn masked<R: Real>(
    isa: Isa,
    extent: &Extent,
    activation: Activation,
    margin: Margin,
    output: &[R],
    grad: &[R],
) -> MaskedGrad<R> {
    let [height, width] = [0, 1].map(|i| extent.axes[i].output);
    let pitch = margin[1][0] + width + margin[1][1];
    let plane = pitch * (margin[0][0] + height + margin[0][1]);
    let count = extent.batch * extent.groups * extent.group_out_channels;
    let mut sums = vec![R::default(); count];
    let origin = margin[0][0] * pitch + margin[1][0];

    let size = height * width;
    let step = (1usize << 14).div_ceil(size);
    let fill = |data: &mut [MaybeUninit<R>]| {
        let (data, slack) = data.split_at_mut(count * plane);
        write_zeros(slack);
        let parts = data.chunks_mut(step * plane).zip(sums.chunks_mut(step));
        let parts = parts.zip(output.chunks(step * size).zip(grad.chunks(step * size)));
        let tasks = parts.map(|((masked, sums), (output, grad))| MaskTask {
            activation,
            width,
            size,
            pitch,
            plane,
            origin,
            masked,
            sums,
            output,
            grad,
        });
        // Reading an element from memory costs about as much as eight multiply-adds.
        run_tasks(isa, 8 * count * size, tasks.collect());
    };
    // Kernels may read a whole vector at the end of the last row, hence the slack of `MAX_LANES`.
    // SAFETY: the slack and the tasks' planes cover all of the data. The slack is zeroed, and each plane is zeroed or
    // fully written.
    let data = unsafe { vec_written_by(count * plane + MAX_LANES, fill) };
    MaskedGrad { data, pitch, plane, origin, sums }
}

/// The task that computes some planes of the masked gradient.
struct MaskTask<'a, R> {
    activation: Activation,
    width: usize,
    size: usize,
    pitch: usize,
    plane: usize,
    origin: usize,
    masked: &'a mut [MaybeUninit<R>],
    sums: &'a mut [R],
    output: &'a [R],
    grad: &'a [R],
}

impl<R: Real> Task<R> for MaskTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        with_function!(self.activation, f => self.planes(|y, grad| f.gradient(grad, y)));
    }
}

impl<R: Real> MaskTask<'_, R> {
    #[inline(always)]
    fn planes(self, apply: impl Fn(R, R) -> R) {
        let planes = self.output.chunks(self.size).zip(self.grad.chunks(self.size));
        let results = self.masked.chunks_mut(self.plane).zip(self.sums);
        for ((masked, sum), (output, grad)) in results.zip(planes) {
            let mut partial = [R::default(); 8];
            if self.plane == self.size {
                accumulate(&mut partial, write_gradients(&apply, masked, output, grad));
            } else {
                write_zeros(masked);
                let rows = output.chunks(self.width).zip(grad.chunks(self.width));
                for (to, (output, grad)) in masked[self.origin..].chunks_mut(self.pitch).zip(rows) {
                    accumulate(&mut partial, write_gradients(&apply, to, output, grad));
                }
            }
            *sum = partial.into_iter().fold(R::default(), |a, b| a + b);
        }
    }
}

/// Writes the masked gradients to the first elements of `to` and returns those elements.
#[inline(always)]
fn write_gradients<'a, R: Real>(
    apply: impl Fn(R, R) -> R,
    to: &'a mut [MaybeUninit<R>],
    output: &[R],
    grad: &[R],
) -> &'a [R] {
    let to = &mut to[..output.len()];
    assert_eq!(to.len(), grad.len());
    for (to, (&y, &grad)) in to.iter_mut().zip(output.iter().zip(grad)) {
        to.write(apply(y, grad));
    }
    // SAFETY: the loop has written every element, because `output` and `grad` have the length of `to`.
    unsafe { &*(std::ptr::from_mut(to) as *const [R]) }
}

/// Adds the elements of `row` to eight independent sums, so that the compiler can vectorize the additions.
#[inline(always)]
fn accumulate<R: Real>(sums: &mut [R; 8], row: &[R]) {
    let eights = row.chunks_exact(8);
    for (sum, &x) in sums.iter_mut().zip(eights.remainder()) {
        *sum += x;
    }
    for eight in eights {
        for i in 0..8 {
            sums[i] += eight[i];
        }
    }
}

/// Returns the gradient of the bias: the sums of the planes, added over the batch.
pub(super) fn bias<R: Real>(channels: usize, sums: &[R]) -> Vec<R> {
    let total = |c| sums.iter().skip(c).step_by(channels).map(|sum| sum.to_f64()).sum();
    (0..channels).map(|c| R::from_f64(total(c))).collect()
}

impl<R: Real> MaskedGrad<R> {
    /// Returns the planes without their margin.
    pub fn cropped(&self, extent: &Extent) -> Cow<'_, [R]> {
        let size = extent.output_plane();
        let count = extent.batch * extent.groups * extent.group_out_channels;
        if self.plane == size {
            return Cow::Borrowed(&self.data[..count * size]);
        }
        let width = extent.axes[1].output;
        let mut cropped = vec![R::default(); count * size];
        let planes = (1usize << 14).div_ceil(size);
        for_each_chunk(&mut cropped, planes * size, |task, to| {
            let from = self.data.chunks_exact(self.plane).skip(task * planes);
            for (to, from) in to.chunks_exact_mut(size).zip(from) {
                let rows = from[self.origin..].chunks(self.pitch);
                to.chunks_exact_mut(width)
                    .zip(rows)
                    .for_each(|(to, from)| to.copy_from_slice(&from[..width]));
            }
        });
        Cow::Owned(cropped)
    }

    /// Returns `true` if the sums of all planes are finite. If they are, all elements are finite too.
    ///
    /// May return `false` for finite elements, if a sum overflows.
    pub fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.to_f64().is_finite())
    }
}
