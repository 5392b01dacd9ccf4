//! The gradient of the input. For each phase of the input, a convolution with stride 1 multiplies the output's gradient
//! by the taps that read the phase. A micro-kernel keeps the sums of several channels and vectors in registers.
//!
//! A position is a `[row, column]` among the input pixels of one phase.

use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Task};

use super::extent::{Axis, Extent, Phase};
use super::mask::{Margin, MaskedGrad};
use super::tasks::{channels_per_task, run_tasks, split_channels};

/// The number of input channels that one call to the micro-kernel computes.
const BLOCK_CHANNELS: usize = 6;

/// Returns the margin of zeros that [`gradient`] reads around the output's gradient.
pub(super) fn margin(extent: &Extent) -> Margin {
    extent.axes.map(|axis| {
        let phases = axis.phases();
        let nonempty = || phases.iter().filter(|phase| phase.count > 0);
        let before = nonempty().map(|phase| phase.max_shift().saturating_sub(phase.first)).max();
        let end = |phase: &Phase| phase.first + phase.count;
        let after = nonempty().map(|phase| end(phase).saturating_sub(phase.min_shift() + axis.output)).max();
        [before.unwrap_or(0), after.unwrap_or(0)]
    })
}

/// Returns the gradient of the input, `[batch, channels, height, width]`. `grad` must have at least the [`margin`].
pub(super) fn gradient<R: Real>(isa: Isa, extent: &Extent, weight: &[R], grad: &MaskedGrad<R>) -> Vec<R> {
    let channels = extent.groups * extent.group_in_channels;
    let size = extent.input_plane();
    let mut result = vec![R::default(); extent.batch * channels * size];
    let phase_convs = phase_convs(extent, weight, grad);

    let work = extent.group_out_channels * extent.output_plane() * extent.taps();
    let per_task = channels_per_task(extent.batch * channels, extent.group_in_channels, BLOCK_CHANNELS, work);
    let tasks = split_channels(&mut result, size, extent.group_in_channels, per_task)
        .into_iter()
        .map(|(first, result)| InputTask { extent, phase_convs: &phase_convs, grad, first, result })
        .collect();
    run_tasks(isa, extent.work(), tasks);
    result
}

/// The convolution with stride 1 that computes one phase of the input's gradient.
struct PhaseConv<R> {
    /// The number of rows of the phase, or 1 if its rows are merged into one.
    rows: usize,
    /// The number of columns of the phase, or of pixels if its rows are merged.
    columns: usize,
    /// The offset, in a plane of the output's gradient, of the first element that position `[0, 0]` needs. The tap with
    /// the largest shifts needs this element, because position `q` needs the outputs `q - shift` (see [`Phase`]).
    grad_offset: usize,
    /// For each tap, the offset of the element that position `[0, 0]` multiplies by the tap's weight, relative to
    /// `grad_offset`.
    taps: Vec<usize>,
    /// The offset of position `[0, 0]` in a plane of the input.
    input_offset: usize,
    /// The distances from one row and from one column of the phase to the next, in a plane of the input.
    steps: [usize; 2],
    /// `[group, channel block][output channel][tap][input channel of the block]`
    weight: Vec<R>,
}

/// Returns one convolution for each phase of the input.
fn phase_convs<R: Real>(extent: &Extent, weight: &[R], grad: &MaskedGrad<R>) -> Vec<PhaseConv<R>> {
    let nonempty = |axis: Axis| axis.phases().into_iter().filter(|phase| phase.count > 0).collect();
    let [y, x]: [Vec<Phase>; 2] = extent.axes.map(nonempty);
    y.iter().flat_map(|y| x.iter().map(move |x| phase_conv(extent, weight, grad, y, x))).collect()
}

/// Returns the convolution for the phase with the rows of `y` and the columns of `x`.
fn phase_conv<R: Real>(
    extent: &Extent,
    weight: &[R],
    grad: &MaskedGrad<R>,
    y: &Phase,
    x: &Phase,
) -> PhaseConv<R> {
    let [y_axis, x_axis] = &extent.axes;
    let taps = || y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y, x)));
    let shift_y = y.max_shift();
    let shift_x = x.max_shift();
    let indices: Vec<usize> = taps().map(|(y, x)| y.index * x_axis.kernel + x.index).collect();
    let width = x_axis.input;
    let one_row = extent.taps() == 1 && y_axis.stride == 1 && x_axis.stride == 1 && grad.pitch == width;
    PhaseConv {
        // A 1×1 kernel with stride 1 processes a plane as one row.
        rows: if one_row { 1 } else { y.count },
        columns: if one_row { x.count * y.count } else { x.count },
        // The margin before the gradient keeps this offset from being negative.
        grad_offset: grad.origin + y.first * grad.pitch + x.first - shift_y * grad.pitch - shift_x,
        taps: taps().map(|(y, x)| (shift_y - y.shift) * grad.pitch + shift_x - x.shift).collect(),
        input_offset: y.position(y_axis) * width + x.position(x_axis),
        steps: [y_axis.stride * width, x_axis.stride],
        weight: pack(extent, weight, &indices),
    }
}

/// Packs the weights of the taps at `indices` in the order in which [`PhaseKernel`] reads the weights.
fn pack<R: Real>(extent: &Extent, weight: &[R], indices: &[usize]) -> Vec<R> {
    let Extent { group_in_channels, group_out_channels, .. } = *extent;
    let taps = extent.taps();
    let channels = extent.groups * group_in_channels;
    let mut packed = vec![R::default(); channels * group_out_channels * indices.len()];
    let size = group_out_channels * indices.len();
    let fill = |(first, packed): &mut (usize, &mut [R])| {
        let group = *first / group_in_channels;
        let first = *first % group_in_channels;
        let block = packed.len() / size;
        for (output, packed) in packed.chunks_exact_mut(indices.len() * block).enumerate() {
            let start = ((group * group_out_channels + output) * group_in_channels + first) * taps;
            for (channel, from) in weight[start..start + block * taps].chunks_exact(taps).enumerate() {
                for (tap, &index) in indices.iter().enumerate() {
                    packed[tap * block + channel] = from[index];
                }
            }
        }
    };
    let mut blocks =
        split_channels(&mut packed, size, group_in_channels, BLOCK_CHANNELS.min(group_in_channels));
    let task_blocks = (1usize << 16).div_ceil(size * BLOCK_CHANNELS);
    for_each_chunk(&mut blocks, task_blocks, |_, blocks| blocks.iter_mut().for_each(fill));
    packed
}

/// The task that computes some channels of the input's gradient.
struct InputTask<'a, R> {
    extent: &'a Extent,
    phase_convs: &'a [PhaseConv<R>],
    grad: &'a MaskedGrad<R>,
    /// The index of the first channel, counted across the batch.
    first: usize,
    result: &'a mut [R],
}

impl<R: Real> Task<R> for InputTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Extent { groups, group_in_channels, group_out_channels, .. } = *self.extent;
        let plane = self.extent.input_plane();
        let mut first = self.first;
        let mut rest = self.result;
        while !rest.is_empty() {
            // `first` counts the input channels of the whole batch, so `group` counts the groups of the whole batch.
            let group = first / group_in_channels;
            let channel = first % group_in_channels;
            let block = BLOCK_CHANNELS.min(group_in_channels - channel).min(rest.len() / plane);
            let (result, next) = rest.split_at_mut(block * plane);
            let grad = &self.grad.data[group * group_out_channels * self.grad.plane_stride..];
            for conv in self.phase_convs {
                let size = group_out_channels * conv.taps.len();
                let start = (group % groups * group_in_channels + channel) * size;
                let weight = &conv.weight[start..start + block * size];
                let MaskedGrad { pitch, plane_stride, .. } = *self.grad;
                let kernel = PhaseKernel {
                    lanes,
                    conv,
                    grad,
                    pitch,
                    plane_stride,
                    group_out_channels,
                    weight,
                    result,
                    plane,
                };
                // Even with only sixteen registers, the sums leave some free for the factors.
                match block {
                    6 => kernel.run::<6, 2>(),
                    5 => kernel.run::<5, 2>(),
                    4 => kernel.run::<4, 2>(),
                    3 => kernel.run::<3, 3>(),
                    2 => kernel.run::<2, 4>(),
                    _ => kernel.run::<1, 8>(),
                }
            }
            (first, rest) = (first + block, next);
        }
    }
}

/// The micro-kernel that computes one phase of one image, for one block of input channels.
struct PhaseKernel<'a, L: Lanes> {
    lanes: L,
    conv: &'a PhaseConv<L::Real>,
    /// The output's gradient, starting at the first plane of the group.
    grad: &'a [L::Real],
    /// The distance between the rows of `grad`.
    pitch: usize,
    /// The distance between the planes of `grad`.
    plane_stride: usize,
    /// The number of planes of `grad` in the group.
    group_out_channels: usize,
    weight: &'a [L::Real],
    result: &'a mut [L::Real],
    /// The distance between the planes of `result`.
    plane: usize,
}

impl<L: Lanes> PhaseKernel<'_, L> {
    /// Computes `C` channels in tiles of `P` vectors of positions.
    #[inline(always)]
    fn run<const C: usize, const P: usize>(mut self) {
        let conv = self.conv;
        let row_vectors = conv.columns.div_ceil(L::LANES);
        let mut row = 0;
        let mut column = 0;
        let mut left = conv.rows * row_vectors;
        while left > 0 {
            let count = left.min(P);
            let mut positions = [[row, column]; P];
            for position in &mut positions[..count] {
                *position = [row, column];
                column += L::LANES;
                if column >= conv.columns {
                    (row, column) = (row + 1, 0);
                }
            }
            self.tile::<C, P>(&positions, count);
            left -= count;
        }
    }

    /// Computes the `P` vectors whose first lanes are at `positions`, and stores the first `count` of these vectors.
    #[inline(always)]
    fn tile<const C: usize, const P: usize>(&mut self, positions: &[[usize; 2]; P], count: usize) {
        let Self { lanes, conv, .. } = *self;
        assert!(self.weight.len() == self.group_out_channels * conv.taps.len() * C);
        let mut grad = [self.grad.as_ptr(); P];
        for (grad, [row, column]) in grad.iter_mut().zip(positions) {
            *grad = grad.wrapping_add(conv.grad_offset + row * self.pitch + column);
        }
        let mut sums = [[lanes.splat(L::Real::default()); P]; C];
        let mut weight = self.weight.as_ptr();
        for output in 0..self.group_out_channels {
            for &tap in &conv.taps {
                let offset = output * self.plane_stride + tap;
                // SAFETY: a plane with its margin contains every position that a tap of this convolution reads. The
                // slack after the last plane contains the remaining lanes of the last vector. `weight` stays within
                // `self.weight`, whose length is asserted above.
                unsafe {
                    let mut grads = sums[0];
                    for p in 0..P {
                        grads[p] = lanes.load(grad[p].add(offset));
                    }
                    for (c, sums) in sums.iter_mut().enumerate() {
                        let weight = lanes.splat(*weight.add(c));
                        for p in 0..P {
                            sums[p] = lanes.fma(weight, grads[p], sums[p]);
                        }
                    }
                    weight = weight.add(C);
                }
            }
        }
        // Copies the sums to memory in loops that are small enough to be unrolled. In a longer loop, the sums would not
        // stay in registers.
        let mut values = [[[L::Real::default(); MAX_LANES]; P]; C];
        for c in 0..C {
            for p in 0..P {
                // SAFETY: a vector has at most `MAX_LANES` lanes, the length of the array.
                unsafe { lanes.store(values[c][p].as_mut_ptr(), sums[c][p]) };
            }
        }
        for (c, values) in values.iter().enumerate() {
            for (&position, values) in positions[..count].iter().zip(values) {
                self.copy(c, position, &values[..L::LANES]);
            }
        }
    }

    /// Copies the values of a vector to the result, except for the lanes beyond the end of the row.
    #[inline(always)]
    fn copy(&mut self, channel: usize, [row, column]: [usize; 2], values: &[L::Real]) {
        let [row_step, column_step] = self.conv.steps;
        let start = channel * self.plane + self.conv.input_offset + row * row_step + column * column_step;
        let to = &mut self.result[start..];
        let count = L::LANES.min(self.conv.columns - column);
        if count == L::LANES && column_step == 1 {
            to[..L::LANES].copy_from_slice(values);
        } else {
            to.iter_mut().step_by(column_step).zip(&values[..count]).for_each(|(to, &value)| *to = value);
        }
    }
}
