//! The gradient before the activation, `grad · act'(output)`, with the bias's gradient, in one pass.

use super::extent::Extent;
use super::tasks::run_all;
use crate::activation::{Activation, Function, with_function};
use crate::memory::{vec_written_by, write_zeros};
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Work};
use std::borrow::Cow;
use std::mem::MaybeUninit;

/// Planes `[batch, channels]` on a common pitch, with a margin of zeros where a kernel looks for them.
#[derive(Default)]
pub(super) struct Planes<R> {
    pub data: Vec<R>,
    /// From one row to the next.
    pub pitch: usize,
    /// From one plane to the next.
    pub plane: usize,
    /// From the start of a plane to its first element that is no margin.
    pub origin: usize,
    /// The sum of each plane.
    pub sums: Vec<R>,
}

/// Zeros `[before, after]` on each axis.
pub(super) type Margin = [[usize; 2]; 2];

/// The gradient before the activation.
pub(super) fn masked<R: Real>(
    isa: Isa,
    extent: &Extent,
    activation: Activation,
    margin: Margin,
    output: &[R],
    grad: &[R],
) -> Planes<R> {
    let [height, width] = [0, 1].map(|i| extent.axes[i].output);
    let pitch = margin[1][0] + width + margin[1][1];
    let plane = pitch * (margin[0][0] + height + margin[0][1]);
    let count = extent.batch * extent.groups * extent.outputs;
    let mut sums = vec![R::default(); count];
    let origin = margin[0][0] * pitch + margin[1][0];

    let size = height * width;
    let step = (1usize << 14).div_ceil(size);
    let fill = |data: &mut [MaybeUninit<R>]| {
        let (data, slack) = data.split_at_mut(count * plane);
        write_zeros(slack);
        let parts = data.chunks_mut(step * plane).zip(sums.chunks_mut(step));
        let parts = parts.zip(output.chunks(step * size).zip(grad.chunks(step * size)));
        let tasks = parts.map(|((to, sums), (output, grad))| MaskTask {
            activation,
            width,
            size,
            pitch,
            plane,
            origin,
            to,
            sums,
            output,
            grad,
        });
        // An element costs about as much as eight multiply-adds: it comes from memory.
        run_all(isa, 8 * count * size, tasks.collect());
    };
    // A whole vector may be read where the last row ends.
    // SAFETY: the slack and the tasks' planes are all of the data; each is cleared, or written from end to end.
    let data = unsafe { vec_written_by(count * plane + MAX_LANES, fill) };
    Planes { data, pitch, plane, origin, sums }
}

/// Some planes of the gradient.
struct MaskTask<'a, R> {
    activation: Activation,
    width: usize,
    size: usize,
    pitch: usize,
    plane: usize,
    origin: usize,
    to: &'a mut [MaybeUninit<R>],
    sums: &'a mut [R],
    output: &'a [R],
    grad: &'a [R],
}

impl<R: Real> Work<R> for MaskTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        with_function!(self.activation, f => self.planes(|y, grad| f.gradient(grad, y)));
    }
}

impl<R: Real> MaskTask<'_, R> {
    #[inline(always)]
    fn planes(self, apply: impl Fn(R, R) -> R) {
        let planes = self.output.chunks(self.size).zip(self.grad.chunks(self.size));
        let results = self.to.chunks_mut(self.plane).zip(self.sums);
        for ((to, sum), (output, grad)) in results.zip(planes) {
            let mut partial = [R::default(); 8];
            if self.plane == self.size {
                add_up(&mut partial, applied(&apply, to, output, grad));
            } else {
                write_zeros(to);
                let rows = output.chunks(self.width).zip(grad.chunks(self.width));
                for (to, (output, grad)) in to[self.origin..].chunks_mut(self.pitch).zip(rows) {
                    add_up(&mut partial, applied(&apply, to, output, grad));
                }
            }
            *sum = partial.into_iter().fold(R::default(), |a, b| a + b);
        }
    }
}

/// Fills the front of `to` with the gradients before the activation, and gives that part.
#[inline(always)]
fn applied<'a, R: Real>(
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
    // SAFETY: each has just been written: there are as many outputs and gradients.
    unsafe { &*(std::ptr::from_mut(to) as *const [R]) }
}

/// Adds `row` to eight sums that a vector unit can run side by side.
#[inline(always)]
fn add_up<R: Real>(sums: &mut [R; 8], row: &[R]) {
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

/// The bias's gradient: the planes' sums, added over the batch.
pub(super) fn bias<R: Real>(channels: usize, sums: &[R]) -> Vec<R> {
    let total = |c| sums.iter().skip(c).step_by(channels).map(|sum| sum.to_f64()).sum();
    (0..channels).map(|c| R::from_f64(total(c))).collect()
}

impl<R: Real> Planes<R> {
    /// The planes without their margin.
    pub fn cropped(&self, extent: &Extent) -> Cow<'_, [R]> {
        let (size, count) = (extent.output_plane(), extent.batch * extent.groups * extent.outputs);
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

    /// Whether no element is infinite or NaN: then neither is a sum, and where one is, an element may be.
    pub fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.to_f64().is_finite())
    }
}
