//! Prepares the input for the kernels that compute the weight's gradient: pads it, and splits it into one plane for
//! each phase.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use crate::memory::{vec_written_by, write_zeros};
use crate::simd::{Isa, Lanes, Real, Task};

use super::extent::{Extent, Phase};
use super::tasks::run_tasks;

/// The input, padded and split into phases: `[batch, channels][phase][rows][pitch]`. For every tap, the inputs of a row
/// of output pixels are contiguous.
pub(super) struct SplitInput<'a, R: Clone> {
    pub data: Cow<'a, [R]>,
    /// The distance between rows.
    pub pitch: usize,
    /// The distance between channels.
    pub channel_stride: usize,
    /// For each column of the im2col matrix (a tap of an input channel of a group), the offset of the element that
    /// output pixel `[0, 0]` reads, counted from the first element of the group. Output pixel `[y, x]` reads the
    /// element at this offset plus `y * pitch + x`.
    pub column_offsets: Vec<usize>,
}

/// Splits the input into phases. Borrows an unpadded input if the stride is 1.
///
/// A copied input has at least the pitch `min_pitch`; a borrowed input keeps its pitch.
pub(super) fn split_input<'a, R: Real>(
    isa: Isa,
    extent: &Extent,
    input: &'a [R],
    min_pitch: usize,
) -> SplitInput<'a, R> {
    let [y_phases, x_phases] = extent.axes.map(|axis| axis.phases());
    let [rows, pitch] = extent.axes.map(|axis| axis.output + axis.max_shift());
    let is_borrowed = extent
        .axes
        .iter()
        .all(|axis| axis.stride == 1 && axis.padding == 0 && axis.output + axis.max_shift() <= axis.input);
    let [rows, pitch] =
        if is_borrowed { extent.axes.map(|axis| axis.input) } else { [rows, pitch.max(min_pitch)] };
    let channel_stride = y_phases.len() * x_phases.len() * rows * pitch;

    let mut column_offsets = vec![0; extent.group_in_channels * extent.taps()];
    for (i, y_phase) in y_phases.iter().enumerate() {
        for (j, x_phase) in x_phases.iter().enumerate() {
            let plane = (i * x_phases.len() + j) * rows * pitch;
            for (y, x) in y_phase.taps.iter().flat_map(|y| x_phase.taps.iter().map(move |x| (y, x))) {
                let tap = y.index * extent.axes[1].kernel + x.index;
                for c in 0..extent.group_in_channels {
                    column_offsets[c * extent.taps() + tap] =
                        c * channel_stride + plane + y.shift * pitch + x.shift;
                }
            }
        }
    }
    if is_borrowed {
        return SplitInput { data: input.into(), pitch, channel_stride, column_offsets };
    }
    let channels = extent.batch * extent.groups * extent.group_in_channels;
    let task_channels = (1usize << 14).div_ceil(channel_stride);
    let fill = |data: &mut [_]| {
        let parts = data
            .chunks_mut(task_channels * channel_stride)
            .zip(input.chunks(task_channels * extent.input_plane()));
        let phases = [&y_phases[..], &x_phases[..]];
        let tasks = parts.map(|(to, input)| SplitTask { extent, phases, rows, pitch, input, to });
        run_tasks(isa, 8 * input.len(), tasks.collect());
    };
    // SAFETY: the tasks' parts cover all of the data, and each task zeroes its part first.
    let data = unsafe { vec_written_by(channels * channel_stride, fill) };
    SplitInput { data: data.into(), pitch, channel_stride, column_offsets }
}

/// The task that splits some channels of the input into phases.
struct SplitTask<'a, R> {
    extent: &'a Extent,
    /// The phases of the rows and of the columns.
    phases: [&'a [Phase]; 2],
    /// The number of rows in a plane.
    rows: usize,
    pitch: usize,
    input: &'a [R],
    to: &'a mut [MaybeUninit<R>],
}

impl<R: Real> Task<R> for SplitTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        let [y_phases, x_phases] = self.phases;
        let size = self.rows * self.pitch;
        let channels = write_zeros(self.to).chunks_exact_mut(y_phases.len() * x_phases.len() * size);
        for (to, from) in channels.zip(self.input.chunks_exact(self.extent.input_plane())) {
            let phases = y_phases.iter().flat_map(|y| x_phases.iter().map(move |x| (y, x)));
            for (to, (y, x)) in to.chunks_exact_mut(size).zip(phases) {
                copy_phase(self.extent, [y, x], self.pitch, from, to);
            }
        }
    }
}

/// Copies the positions of one phase from a plane of the input.
#[inline(always)]
fn copy_phase<R: Real>(extent: &Extent, [y, x]: [&Phase; 2], pitch: usize, from: &[R], to: &mut [R]) {
    let [y_axis, x_axis] = &extent.axes;
    if x.count == 0 || x.first >= pitch {
        return;
    }
    let rows = to.chunks_exact_mut(pitch).skip(y.first).take(y.count);
    for (row, to) in rows.enumerate() {
        let from = &from[(y.position(y_axis) + row * y_axis.stride) * x_axis.input..][..x_axis.input];
        let from = &from[x.position(x_axis)..];
        let to = &mut to[x.first..];
        let count = x.count.min(to.len());
        if x_axis.stride == 1 {
            to[..count].copy_from_slice(&from[..count]);
        } else {
            to.iter_mut().zip(from.iter().step_by(x_axis.stride)).take(count).for_each(|(to, &x)| *to = x);
        }
    }
}
