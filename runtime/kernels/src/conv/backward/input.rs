//! The gradient of the input: for each residue class of its positions, a stride-1 convolution of the output's
//! gradient with the taps that read the class. A micro-kernel keeps several channels and vectors in registers.

use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Task};

use super::extent::{Extent, ResidueClass};
use super::mask::{Margin, MaskedGrad};
use super::tasks::{channels_per_task, run_tasks, split_channels};

/// The number of input channels that one call to the micro-kernel computes.
const BLOCK: usize = 6;

/// Returns the numbers of zeros that the sweeps read around the output's gradient.
pub(super) fn margin(extent: &Extent) -> Margin {
    extent.axes.map(|axis| {
        let classes = axis.classes();
        let nonempty = || classes.iter().filter(|class| class.count > 0);
        let before = nonempty().map(|class| class.max_shift().saturating_sub(class.first)).max();
        let last = |class: &ResidueClass| class.first + class.count - 1;
        let after =
            nonempty().map(|class| (last(class) + 1).saturating_sub(class.min_shift() + axis.output)).max();
        [before.unwrap_or(0), after.unwrap_or(0)]
    })
}

/// Returns the gradient of the input, `[batch, channels, height, width]`.
pub(super) fn gradient<R: Real>(isa: Isa, extent: &Extent, weight: &[R], grad: &MaskedGrad<R>) -> Vec<R> {
    let channels = extent.groups * extent.group_in_channels;
    let size = extent.input_plane();
    let mut result = vec![R::default(); extent.batch * channels * size];
    let sweeps = sweeps(extent, weight, grad);

    let work = extent.group_out_channels * extent.output_plane() * extent.taps();
    let per_task = channels_per_task(extent.batch * channels, extent.group_in_channels, BLOCK, work);
    let tasks = split_channels(&mut result, size, extent.group_in_channels, per_task)
        .into_iter()
        .map(|(first, result)| InputTask { extent, sweeps: &sweeps, grad, first, result })
        .collect();
    run_tasks(isa, extent.work(), tasks);
    result
}

/// The computation of one residue class of input positions.
struct Sweep<R> {
    rows: usize,
    columns: usize,
    /// The offset, in a plane of the output's gradient, of the element that the first position reads under the tap with
    /// the largest shift.
    grad_offset: usize,
    /// The offset of each tap from `grad_offset`.
    taps: Vec<usize>,
    /// The offset of the first position in a plane of the input.
    input_offset: usize,
    /// The distances to the next row and to the next column in a plane of the input.
    steps: [usize; 2],
    /// `[group, channel block][output channel][tap][input channel of the block]`
    weight: Vec<R>,
}

fn sweeps<R: Real>(extent: &Extent, weight: &[R], grad: &MaskedGrad<R>) -> Vec<Sweep<R>> {
    let [y, x] = extent.axes.map(|axis| axis.classes().into_iter().filter(|class| class.count > 0).collect());
    let (y, x): (Vec<ResidueClass>, Vec<ResidueClass>) = (y, x);
    y.iter().flat_map(|y| x.iter().map(move |x| sweep(extent, weight, grad, y, x))).collect()
}

fn sweep<R: Real>(
    extent: &Extent,
    weight: &[R],
    grad: &MaskedGrad<R>,
    y: &ResidueClass,
    x: &ResidueClass,
) -> Sweep<R> {
    let [rows, columns] = &extent.axes;
    let taps = || y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y, x)));
    let shift_y = y.max_shift();
    let shift_x = x.max_shift();
    let indices: Vec<usize> = taps().map(|(y, x)| y.index * columns.kernel + x.index).collect();
    let width = columns.input;
    let one_row = extent.taps() == 1 && rows.stride == 1 && columns.stride == 1 && grad.pitch == width;
    Sweep {
        // A 1×1 kernel with stride 1 processes a plane as one row.
        rows: if one_row { 1 } else { y.count },
        columns: if one_row { x.count * y.count } else { x.count },
        // The margin makes both coordinates at least as large as the shift.
        grad_offset: grad.origin + y.first * grad.pitch + x.first - shift_y * grad.pitch - shift_x,
        taps: taps().map(|(y, x)| (shift_y - y.shift) * grad.pitch + shift_x - x.shift).collect(),
        input_offset: y.position(rows) * width + x.position(columns),
        steps: [rows.stride * width, columns.stride],
        weight: pack(extent, weight, &indices),
    }
}

/// Packs the taps at `indices` in the order in which a sweep reads them.
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
    let mut blocks = split_channels(&mut packed, size, group_in_channels, BLOCK.min(group_in_channels));
    let each = (1usize << 16).div_ceil(size * BLOCK);
    for_each_chunk(&mut blocks, each, |_, blocks| blocks.iter_mut().for_each(fill));
    packed
}

/// The task that computes some channels of the input's gradient.
struct InputTask<'a, R> {
    extent: &'a Extent,
    sweeps: &'a [Sweep<R>],
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
            let block = BLOCK.min(group_in_channels - channel).min(rest.len() / plane);
            let (result, next) = rest.split_at_mut(block * plane);
            let grad = &self.grad.data[group * group_out_channels * self.grad.plane..];
            for sweep in self.sweeps {
                let size = group_out_channels * sweep.taps.len();
                let start = (group % groups * group_in_channels + channel) * size;
                let weight = &sweep.weight[start..start + block * size];
                let MaskedGrad { pitch, plane: grad_plane, .. } = *self.grad;
                let kernel = SweepKernel {
                    lanes,
                    sweep,
                    grad,
                    pitch,
                    grad_plane,
                    group_out_channels,
                    weight,
                    result,
                    plane,
                };
                // The sums leave some of the sixteen registers free for the factors.
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

/// The micro-kernel of one sweep over one image for one block of input channels.
struct SweepKernel<'a, L: Lanes> {
    lanes: L,
    sweep: &'a Sweep<L::Real>,
    /// The output's gradient, starting at the first plane of the group.
    grad: &'a [L::Real],
    /// The distance between the rows of `grad`.
    pitch: usize,
    /// The distance between the planes of `grad`.
    grad_plane: usize,
    /// The number of planes of `grad` in the group.
    group_out_channels: usize,
    weight: &'a [L::Real],
    result: &'a mut [L::Real],
    /// The distance between the planes of `result`.
    plane: usize,
}

impl<L: Lanes> SweepKernel<'_, L> {
    /// Computes `C` channels in tiles of `P` vectors of positions.
    #[inline(always)]
    fn run<const C: usize, const P: usize>(mut self) {
        let sweep = self.sweep;
        let per_row = sweep.columns.div_ceil(L::LANES);
        let mut row = 0;
        let mut column = 0;
        let mut left = sweep.rows * per_row;
        while left > 0 {
            let count = left.min(P);
            let mut positions = [[row, column]; P];
            for position in &mut positions[..count] {
                *position = [row, column];
                column += L::LANES;
                if column >= sweep.columns {
                    (row, column) = (row + 1, 0);
                }
            }
            self.tile::<C, P>(&positions, count);
            left -= count;
        }
    }

    /// Computes the vectors at `positions` and stores the first `count` of them. A position is the `[row, column]` of a
    /// vector's first lane.
    #[inline(always)]
    fn tile<const C: usize, const P: usize>(&mut self, positions: &[[usize; 2]; P], count: usize) {
        let Self { lanes, sweep, .. } = *self;
        assert!(self.weight.len() == self.group_out_channels * sweep.taps.len() * C);
        let mut grad = [self.grad.as_ptr(); P];
        for (grad, [row, column]) in grad.iter_mut().zip(positions) {
            *grad = grad.wrapping_add(sweep.grad_offset + row * self.pitch + column);
        }
        let mut sums = [[lanes.splat(L::Real::default()); P]; C];
        let mut weight = self.weight.as_ptr();
        for output in 0..self.group_out_channels {
            for &tap in &sweep.taps {
                let offset = output * self.grad_plane + tap;
                // SAFETY: a plane with its margin contains every position that a tap of this sweep reads. The slack
                // after the last plane contains the remaining lanes of the last vector. `weight` stays within
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

    /// Copies the lanes of a vector that lie inside the row.
    #[inline(always)]
    fn copy(&mut self, channel: usize, [row, column]: [usize; 2], values: &[L::Real]) {
        let [down, right] = self.sweep.steps;
        let start = channel * self.plane + self.sweep.input_offset + row * down + column * right;
        let to = &mut self.result[start..];
        let count = L::LANES.min(self.sweep.columns - column);
        if count == L::LANES && right == 1 {
            to[..L::LANES].copy_from_slice(values);
        } else {
            to.iter_mut().step_by(right).zip(&values[..count]).for_each(|(to, &value)| *to = value);
        }
    }
}
