//! The gradient of the input: for each residue class of its positions, a stride-1 correlation of the
//! output's gradient with the taps that meet the class, several channels and vectors in registers.

use super::extent::{Class, Extent};
use super::mask::{Margin, Planes};
use super::tasks::{channels_per_task, run_all, split_channels};
use crate::parallel::for_each_chunk;
use crate::simd::{Isa, Lanes, MAX_LANES, Real, Work};

/// Input channels that one sweep computes.
const BLOCK: usize = 6;

/// The zeros around the output's gradient that the sweeps read.
pub(super) fn margin(extent: &Extent) -> Margin {
    extent.axes.map(|axis| {
        let classes = axis.classes();
        let met = || classes.iter().filter(|class| class.count > 0);
        let before = met().map(|class| class.max_shift().saturating_sub(class.first)).max();
        let last = |class: &Class| class.first + class.count - 1;
        let after =
            met().map(|class| (last(class) + 1).saturating_sub(class.min_shift() + axis.output)).max();
        [before.unwrap_or(0), after.unwrap_or(0)]
    })
}

/// The gradient of the input, `[batch, channels, height, width]`.
pub(super) fn gradient<R: Real>(isa: Isa, extent: &Extent, weight: &[R], grad: &Planes<R>) -> Vec<R> {
    let channels = extent.groups * extent.inputs;
    let size = extent.input_plane();
    let mut result = vec![R::default(); extent.batch * channels * size];
    let sweeps = sweeps(extent, weight, grad);

    let work = extent.outputs * extent.output_plane() * extent.taps();
    let per_task = channels_per_task(extent.batch * channels, extent.inputs, BLOCK, work);
    let tasks = split_channels(&mut result, size, extent.inputs, per_task)
        .into_iter()
        .map(|(first, to)| InputTask { extent, sweeps: &sweeps, grad, first, to })
        .collect();
    run_all(isa, extent.work(), tasks);
    result
}

/// What computes one residue class of one channel block.
struct Sweep<R> {
    rows: usize,
    columns: usize,
    /// In a plane of the output's gradient: where the first position meets the tap of the largest
    /// shift, and how far on each tap is.
    from: usize,
    taps: Vec<usize>,
    /// In a plane of the input: the first position, and the steps to the next row and column.
    to: usize,
    steps: [usize; 2],
    /// `[group, channel block][output channel][tap][input channel of the block]`
    weight: Vec<R>,
}

fn sweeps<R: Real>(extent: &Extent, weight: &[R], grad: &Planes<R>) -> Vec<Sweep<R>> {
    let [y, x] = extent.axes.map(|axis| axis.classes().into_iter().filter(|class| class.count > 0).collect());
    let (y, x): (Vec<Class>, Vec<Class>) = (y, x);
    y.iter().flat_map(|y| x.iter().map(move |x| sweep(extent, weight, grad, y, x))).collect()
}

fn sweep<R: Real>(extent: &Extent, weight: &[R], grad: &Planes<R>, y: &Class, x: &Class) -> Sweep<R> {
    let [rows, columns] = &extent.axes;
    let taps = || y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y, x)));
    let (shift_y, shift_x) = (y.max_shift(), x.max_shift());
    let indices: Vec<usize> = taps().map(|(y, x)| y.index * columns.kernel + x.index).collect();
    let width = columns.input;
    let whole = extent.taps() == 1 && rows.stride == 1 && columns.stride == 1 && grad.pitch == width;
    Sweep {
        // A kernel of one tap that meets every position has no use for rows.
        rows: if whole { 1 } else { y.count },
        columns: if whole { x.count * y.count } else { x.count },
        // The margin makes both sums no smaller than the shift.
        from: grad.origin + y.first * grad.pitch + x.first - shift_y * grad.pitch - shift_x,
        taps: taps().map(|(y, x)| (shift_y - y.shift) * grad.pitch + shift_x - x.shift).collect(),
        to: y.position(rows) * width + x.position(columns),
        steps: [rows.stride * width, columns.stride],
        weight: packed(extent, weight, &indices),
    }
}

/// The taps at `indices`, in the order in which a sweep reads them.
fn packed<R: Real>(extent: &Extent, weight: &[R], indices: &[usize]) -> Vec<R> {
    let Extent { inputs, outputs, .. } = *extent;
    let (taps, channels) = (extent.taps(), extent.groups * inputs);
    let mut packed = vec![R::default(); channels * outputs * indices.len()];
    let size = outputs * indices.len();
    let fill = |(first, to): &mut (usize, &mut [R])| {
        let (group, first, block) = (*first / inputs, *first % inputs, to.len() / size);
        for (output, to) in to.chunks_exact_mut(indices.len() * block).enumerate() {
            let from = ((group * outputs + output) * inputs + first) * taps;
            for (channel, from) in weight[from..from + block * taps].chunks_exact(taps).enumerate() {
                for (tap, &index) in indices.iter().enumerate() {
                    to[tap * block + channel] = from[index];
                }
            }
        }
    };
    let mut blocks = split_channels(&mut packed, size, inputs, BLOCK.min(inputs));
    let each = (1usize << 16).div_ceil(size * BLOCK);
    for_each_chunk(&mut blocks, each, |_, blocks| blocks.iter_mut().for_each(fill));
    packed
}

/// Some channels of the input's gradient, `first` the number of the first one in the batch.
struct InputTask<'a, R> {
    extent: &'a Extent,
    sweeps: &'a [Sweep<R>],
    grad: &'a Planes<R>,
    first: usize,
    to: &'a mut [R],
}

impl<R: Real> Work<R> for InputTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, lanes: L) {
        let Extent { groups, inputs, outputs, .. } = *self.extent;
        let plane = self.extent.input_plane();
        let (mut first, mut rest) = (self.first, self.to);
        while !rest.is_empty() {
            // `first` counts the input channels of the whole batch, so `group` its groups.
            let (group, channel) = (first / inputs, first % inputs);
            let block = BLOCK.min(inputs - channel).min(rest.len() / plane);
            let (to, next) = rest.split_at_mut(block * plane);
            let from = &self.grad.data[group * outputs * self.grad.plane..];
            for sweep in self.sweeps {
                let size = outputs * sweep.taps.len();
                let start = (group % groups * inputs + channel) * size;
                let weight = &sweep.weight[start..start + block * size];
                let Planes { pitch, plane: stride, .. } = *self.grad;
                let part = Part { lanes, sweep, from, pitch, stride, outputs, weight, to, plane };
                // As many sums as leave sixteen registers room for the factors.
                match block {
                    6 => part.run::<6, 2>(),
                    5 => part.run::<5, 2>(),
                    4 => part.run::<4, 2>(),
                    3 => part.run::<3, 3>(),
                    2 => part.run::<2, 4>(),
                    _ => part.run::<1, 8>(),
                }
            }
            (first, rest) = (first + block, next);
        }
    }
}

/// One sweep over one image for one block of channels.
struct Part<'a, L: Lanes> {
    lanes: L,
    sweep: &'a Sweep<L::Real>,
    /// The planes of the output's gradient from the first one of the group, `stride` apart.
    from: &'a [L::Real],
    pitch: usize,
    stride: usize,
    outputs: usize,
    weight: &'a [L::Real],
    to: &'a mut [L::Real],
    plane: usize,
}

impl<L: Lanes> Part<'_, L> {
    /// Computes `C` channels, `P` vectors of positions at a time.
    #[inline(always)]
    fn run<const C: usize, const P: usize>(mut self) {
        let sweep = self.sweep;
        let per_row = sweep.columns.div_ceil(L::LANES);
        let (mut row, mut column, mut left) = (0, 0, sweep.rows * per_row);
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

    /// Computes the vectors at `positions`, their first lanes' `[row, column]`, and stores the first
    /// `count` of them.
    #[inline(always)]
    fn tile<const C: usize, const P: usize>(&mut self, positions: &[[usize; 2]; P], count: usize) {
        let Self { lanes, sweep, .. } = *self;
        assert!(self.weight.len() == self.outputs * sweep.taps.len() * C);
        let mut from = [self.from.as_ptr(); P];
        for (from, [row, column]) in from.iter_mut().zip(positions) {
            *from = from.wrapping_add(sweep.from + row * self.pitch + column);
        }
        let mut sums = [[lanes.splat(L::Real::default()); P]; C];
        let mut weight = self.weight.as_ptr();
        for output in 0..self.outputs {
            for &tap in &sweep.taps {
                let offset = output * self.stride + tap;
                // SAFETY: the margin of a plane holds every position that a tap of this sweep reads,
                // and the slack after the last plane the rest of its vector; `weight` goes up to the
                // end of `self.weight`, as asserted above.
                unsafe {
                    let mut grads = sums[0];
                    for p in 0..P {
                        grads[p] = lanes.load(from[p].add(offset));
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
        // Through memory, in loops so small that they are unrolled and the sums stay in registers.
        let mut values = [[[L::Real::default(); MAX_LANES]; P]; C];
        for c in 0..C {
            for p in 0..P {
                // SAFETY: no vector has more than `MAX_LANES` lanes.
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
        let to = &mut self.to[channel * self.plane + self.sweep.to + row * down + column * right..];
        let count = L::LANES.min(self.sweep.columns - column);
        if count == L::LANES && right == 1 {
            to[..L::LANES].copy_from_slice(values);
        } else {
            to.iter_mut().step_by(right).zip(&values[..count]).for_each(|(to, &value)| *to = value);
        }
    }
}
