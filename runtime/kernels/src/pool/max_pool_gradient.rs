//! The gradient of max pooling for small undilated windows with no gaps between them. Each pass over a plane handles
//! one tap (one position in the window) of all windows.
//!
//! Before the passes, the input is rearranged so that, for each tap, the elements of all windows are in the order of
//! the outputs. The passes are therefore vectorized. They have no branches, because branches on the maximum would be
//! unpredictable.

use crate::element::Element;
use crate::memory::zeros;
use crate::simd::{Kernel, Simd};

use super::max::{AxisWindows, MaxPool};

/// The number of elements that one iteration of a pass handles.
const STEP: usize = 8;

/// The backward pass over several planes. Writes the gradient of `x` to `dx`, which must be zero at first.
pub(super) struct MaxPoolGradient<'a, E> {
    pub pool: &'a MaxPool,
    /// The windows along the height and along the width.
    pub windows: [AxisWindows; 2],
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
    pub dx: &'a mut [E],
}

impl<E: Element> Kernel for MaxPoolGradient<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.windows[1].stride {
            1 => self.planes::<1>(),
            _ => self.planes::<2>(),
        }
    }
}

impl<E: Element> MaxPoolGradient<'_, E> {
    /// Handles all planes, for windows `STRIDE` columns apart.
    #[inline(always)]
    fn planes<const STRIDE: usize>(self) {
        let Self { pool, windows, x, y, grad, dx } = self;
        let ([h, w], [rows, columns]) = (pool.input, pool.output());
        let phases = Phases::<STRIDE>::new(windows, pool.input, pool.output());
        let phase_columns = phases.counts[1];
        let pass_len = (rows * phase_columns).next_multiple_of(STEP);
        // The padding of `elements` and of `largest` is NaN, which does not equal any element.
        let nan = E::from_f64(f64::NAN);
        let mut elements = vec![nan; phases.len() + pass_len];
        let mut gradients = zeros::<E>(elements.len());
        let mut largest = vec![nan; pass_len];
        let mut remaining = zeros::<E>(pass_len);
        let outputs = y.chunks_exact(rows * columns).zip(grad.chunks_exact(rows * columns));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // The gradient of a window with NaN belongs to the last NaN, which does not compare equal to the maximum.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, dx);
                continue;
            }
            phases.split_into_phases(x, &mut elements);
            gradients.fill(E::ZERO);
            for (padded, values) in [(&mut largest, y), (&mut remaining, grad)] {
                let rows = padded.chunks_exact_mut(phase_columns).zip(values.chunks_exact(columns));
                rows.for_each(|(padded, values)| padded[..columns].copy_from_slice(values));
            }
            for position in phases.positions() {
                let gradients = &mut gradients[position..][..pass_len];
                route_gradients(&elements[position..][..pass_len], &largest, &mut remaining, gradients);
            }
            phases.join_phases(&gradients, dx);
        }
    }
}

/// Handles one tap: `x` holds the element of each window under the tap, and `y` the maximum of each window. If the two
/// are equal, adds the window's remaining gradient to the element's gradient in `dx` and sets the remaining gradient to
/// 0, so that later elements of the window receive nothing.
#[inline(always)]
fn route_gradients<E: Element>(x: &[E], y: &[E], remaining: &mut [E], dx: &mut [E]) {
    let elements = x.chunks_exact(STEP).zip(dx.chunks_exact_mut(STEP));
    let outputs = y.chunks_exact(STEP).zip(remaining.chunks_exact_mut(STEP));
    for ((x, dx), (y, remaining)) in elements.zip(outputs) {
        let mut routed = [E::ZERO; STEP];
        let mut kept = [E::ZERO; STEP];
        for i in 0..STEP {
            let is_max = x[i] == y[i];
            routed[i] = if is_max { remaining[i] } else { E::ZERO };
            kept[i] = if is_max { E::ZERO } else { remaining[i] };
        }
        for i in 0..STEP {
            dx[i] += routed[i];
        }
        remaining.copy_from_slice(&kept);
    }
}

/// The layout `[row phase][column phase][row][column]` of planes: a phase holds the elements whose rows are equal
/// modulo the row stride and whose columns are equal modulo `STRIDE`. Rows and columns are counted from the start of
/// the padding.
struct Phases<const STRIDE: usize> {
    windows: [AxisWindows; 2],
    input: [usize; 2],
    /// The numbers of rows and of columns of a phase.
    counts: [usize; 2],
}

impl<const STRIDE: usize> Phases<STRIDE> {
    fn new(windows: [AxisWindows; 2], input: [usize; 2], output: [usize; 2]) -> Self {
        let counts = [0, 1].map(|axis| output[axis] + (windows[axis].kernel - 1) / windows[axis].stride);
        Self { windows, input, counts }
    }

    /// Returns the number of elements of a phase.
    fn phase_len(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    /// Returns the number of elements of all phases.
    fn len(&self) -> usize {
        self.windows[0].stride * STRIDE * self.phase_len()
    }

    /// Returns the offset of the element under each tap of the first window, in row-major order of the taps. The
    /// elements under the same tap of the other windows follow, in the order of the outputs.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.windows;
        let positions =
            (0..rows.kernel).flat_map(move |row| (0..columns.kernel).map(move |column| (row, column)));
        positions.map(move |(row, column)| {
            let phase = row % rows.stride * STRIDE + column % STRIDE;
            phase * self.phase_len() + row / rows.stride * self.counts[1] + column / STRIDE
        })
    }

    /// Returns the offset of an input row in its first column phase, or `None` if no window covers that row.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<usize> {
        let AxisWindows { stride, padding, .. } = self.windows[0];
        let (phase, index) = ((row + padding) % stride, (row + padding) / stride);
        (index < self.counts[0]).then(|| phase * STRIDE * self.phase_len() + index * self.counts[1])
    }

    /// Returns the first input column of a column phase, the index of that column within the phase, and the number of
    /// columns.
    #[inline(always)]
    fn columns(&self, phase: usize) -> (usize, usize, usize) {
        let padding = self.windows[1].padding;
        let first = padding.saturating_sub(phase).div_ceil(STRIDE);
        let start = phase + first * STRIDE - padding;
        let count = self.input[1].saturating_sub(start).div_ceil(STRIDE);
        (start, first, count.min(self.counts[1].saturating_sub(first)))
    }

    /// Copies a plane to its phases.
    #[inline(always)]
    fn split_into_phases<E: Element>(&self, x: &[E], phases: &mut [E]) {
        for (row, x) in x.chunks_exact(self.input[1]).enumerate() {
            let Some(offset) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let phase = &mut phases[offset + phase * self.phase_len() + first..][..count];
                    let groups = x[start..].chunks_exact(STRIDE);
                    phase.iter_mut().zip(groups).for_each(|(element, x)| *element = x[0]);
                    // The group of the last column may be cut off by the end of the row.
                    phase[count - 1] = x[start + (count - 1) * STRIDE];
                }
            }
        }
    }

    /// Copies phases back to a plane.
    #[inline(always)]
    fn join_phases<E: Element>(&self, phases: &[E], dx: &mut [E]) {
        for (row, dx) in dx.chunks_exact_mut(self.input[1]).enumerate() {
            let Some(offset) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let phase = &phases[offset + phase * self.phase_len() + first..][..count];
                    let groups = dx[start..].chunks_exact_mut(STRIDE);
                    groups.zip(phase).for_each(|(dx, element)| dx[0] = *element);
                    // As in `split_into_phases`.
                    dx[start + (count - 1) * STRIDE] = phase[count - 1];
                }
            }
        }
    }
}
