//! The input as the kernels for the weight's gradient read it: padded, with one plane (a phase) for each residue class
//! of the stride.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use crate::memory::{vec_written_by, write_zeros};
use crate::simd::{Isa, Lanes, Real, Task};

use super::extent::{Extent, ResidueClass};
use super::tasks::run_tasks;

/// The input, padded and split into the residue classes of the stride, so that the inputs of a row of output pixels are
/// contiguous for every tap.
pub(super) struct Phases<'a, R: Clone> {
    pub data: Cow<'a, [R]>,
    /// The distance between rows.
    pub pitch: usize,
    /// The distance between channels.
    pub channel: usize,
    /// For each input channel of a group and each tap, the offset that the first output pixel reads.
    pub columns: Vec<usize>,
}

/// Splits the input into phases. Borrows the input if there is neither stride nor padding.
///
/// If rows are copied, their pitch is at least `pitch`.
pub(super) fn phases<'a, R: Real>(isa: Isa, extent: &Extent, input: &'a [R], pitch: usize) -> Phases<'a, R> {
    let min_pitch = pitch;
    let [y, x] = extent.axes.map(|axis| axis.classes());
    let [rows, pitch] = extent.axes.map(|axis| axis.output + axis.max_shift());
    let direct = extent
        .axes
        .iter()
        .all(|axis| axis.stride == 1 && axis.padding == 0 && axis.output + axis.max_shift() <= axis.input);
    let [rows, pitch] =
        if direct { extent.axes.map(|axis| axis.input) } else { [rows, pitch.max(min_pitch)] };
    let channel = y.len() * x.len() * rows * pitch;

    let mut columns = vec![0; extent.group_in_channels * extent.taps()];
    for (i, y) in y.iter().enumerate() {
        for (j, x_class) in x.iter().enumerate() {
            let phase = (i * x.len() + j) * rows * pitch;
            for (y, x) in y.taps.iter().flat_map(|y| x_class.taps.iter().map(move |x| (y, x))) {
                let tap = y.index * extent.axes[1].kernel + x.index;
                for c in 0..extent.group_in_channels {
                    columns[c * extent.taps() + tap] = c * channel + phase + y.shift * pitch + x.shift;
                }
            }
        }
    }
    if direct {
        return Phases { data: input.into(), pitch, channel, columns };
    }
    let channels = extent.batch * extent.groups * extent.group_in_channels;
    let step = (1usize << 14).div_ceil(channel);
    let fill = |data: &mut [_]| {
        let parts = data.chunks_mut(step * channel).zip(input.chunks(step * extent.input_plane()));
        let classes = [&y[..], &x[..]];
        let tasks = parts.map(|(phases, input)| PhaseTask { extent, classes, rows, pitch, phases, input });
        run_tasks(isa, 8 * input.len(), tasks.collect());
    };
    // SAFETY: the tasks' parts cover all of the data, and each task zeroes its part first.
    let data = unsafe { vec_written_by(channels * channel, fill) };
    Phases { data: data.into(), pitch, channel, columns }
}

/// The task that splits some channels of the input into phases.
struct PhaseTask<'a, R> {
    extent: &'a Extent,
    classes: [&'a [ResidueClass]; 2],
    /// The number of rows in a phase.
    rows: usize,
    pitch: usize,
    phases: &'a mut [MaybeUninit<R>],
    input: &'a [R],
}

impl<R: Real> Task<R> for PhaseTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        let [y, x] = self.classes;
        let phase = self.rows * self.pitch;
        let channels = write_zeros(self.phases).chunks_exact_mut(y.len() * x.len() * phase);
        for (phases, plane) in channels.zip(self.input.chunks_exact(self.extent.input_plane())) {
            let classes = y.iter().flat_map(|y| x.iter().map(move |x| (y, x)));
            for (to, (y, x)) in phases.chunks_exact_mut(phase).zip(classes) {
                copy_phase(self.extent, [y, x], self.pitch, plane, to);
            }
        }
    }
}

/// Copies the positions of one residue class from a plane to a phase.
#[inline(always)]
fn copy_phase<R: Real>(extent: &Extent, [y, x]: [&ResidueClass; 2], pitch: usize, from: &[R], to: &mut [R]) {
    let [down, right] = &extent.axes;
    if x.count == 0 || x.first >= pitch {
        return;
    }
    let rows = to.chunks_exact_mut(pitch).skip(y.first).take(y.count);
    for (row, to) in rows.enumerate() {
        let from = &from[(y.position(down) + row * down.stride) * right.input..][..right.input];
        let from = &from[x.position(right)..];
        let to = &mut to[x.first..];
        let count = x.count.min(to.len());
        if right.stride == 1 {
            to[..count].copy_from_slice(&from[..count]);
        } else {
            to.iter_mut().zip(from.iter().step_by(right.stride)).take(count).for_each(|(to, &x)| *to = x);
        }
    }
}
