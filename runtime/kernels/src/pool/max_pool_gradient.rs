//! The gradient of max pooling for small undilated windows with no gaps between them. Each pass handles one kernel
//! position of all windows of a plane.
//!
//! The input is first rearranged, so that the elements that the windows have at one kernel position are in the same
//! order as the outputs of the windows. Each kernel position then takes one vectorized pass without branches. Branches
//! on the maximum would be unpredictable.

use crate::element::Element;
use crate::memory::zeros;
use crate::simd::{Kernel, Simd};

use super::max::{AxisWindows, MaxPool};

/// The number of elements that one iteration of a pass handles.
const STEP: usize = 8;

/// The backward pass over several planes. Writes the gradient of `x` to `dx`, which must be zero at first.
pub(super) struct TapGradient<'a, E> {
    pub pool: &'a MaxPool,
    /// The windows along the height and along the width.
    pub windows: [AxisWindows; 2],
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
    pub dx: &'a mut [E],
}

impl<E: Element> Kernel for TapGradient<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.windows[1].stride {
            1 => self.planes::<1>(),
            _ => self.planes::<2>(),
        }
    }
}

impl<E: Element> TapGradient<'_, E> {
    /// Handles all planes, for windows `STRIDE` columns apart.
    #[inline(always)]
    fn planes<const STRIDE: usize>(self) {
        let Self { pool, windows, x, y, grad, dx } = self;
        let ([h, w], [rows, columns]) = (pool.input, pool.output());
        let phases = Phases::<STRIDE>::new(windows, pool.input, pool.output());
        let pitch = phases.counts[1];
        let run = (rows * pitch).next_multiple_of(STEP);
        // The padding of `elements` and of `largest` is NaN, which does not equal any element.
        let nan = E::from_f64(f64::NAN);
        let mut elements = vec![nan; phases.len() + run];
        let mut gradients = zeros::<E>(elements.len());
        let mut largest = vec![nan; run];
        let mut remaining = zeros::<E>(run);
        let outputs = y.chunks_exact(rows * columns).zip(grad.chunks_exact(rows * columns));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // If a window contains NaN, its gradient belongs to its last NaN, which `==` cannot find.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, dx);
                continue;
            }
            phases.split(x, &mut elements);
            gradients.fill(E::ZERO);
            for (padded, values) in [(&mut largest, y), (&mut remaining, grad)] {
                let rows = padded.chunks_exact_mut(pitch).zip(values.chunks_exact(columns));
                rows.for_each(|(padded, values)| padded[..columns].copy_from_slice(values));
            }
            for position in phases.positions() {
                let gradients = &mut gradients[position..][..run];
                route_gradients(&elements[position..][..run], &largest, &mut remaining, gradients);
            }
            phases.join(&gradients, dx);
        }
    }
}

/// Handles one kernel position: `x` holds one element of each window, and `y` the maximum of each window. If the two
/// are equal, moves the window's remaining gradient to the element's gradient in `dx`. Sets the remaining gradient to
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
/// modulo the row stride and whose columns are equal modulo `STRIDE`, both counted with the padding.
struct Phases<const STRIDE: usize> {
    windows: [AxisWindows; 2],
    input: [usize; 2],
    /// The number of rows and columns of a phase.
    counts: [usize; 2],
}

impl<const STRIDE: usize> Phases<STRIDE> {
    fn new(windows: [AxisWindows; 2], input: [usize; 2], output: [usize; 2]) -> Self {
        let counts = [0, 1].map(|axis| output[axis] + (windows[axis].kernel - 1) / windows[axis].stride);
        Self { windows, input, counts }
    }

    fn plane(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    fn len(&self) -> usize {
        self.windows[0].stride * STRIDE * self.plane()
    }

    /// Returns the offset of each kernel position of the first window, in row-major order.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.windows;
        let positions =
            (0..rows.kernel).flat_map(move |row| (0..columns.kernel).map(move |column| (row, column)));
        positions.map(move |(row, column)| {
            let phase = row % rows.stride * STRIDE + column % STRIDE;
            phase * self.plane() + row / rows.stride * self.counts[1] + column / STRIDE
        })
    }

    /// Returns the offset of the first column phase of an input row, or `None` if no window covers that row.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<usize> {
        let AxisWindows { stride, padding, .. } = self.windows[0];
        let (phase, index) = ((row + padding) % stride, (row + padding) / stride);
        (index < self.counts[0]).then(|| phase * STRIDE * self.plane() + index * self.counts[1])
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
    fn split<E: Element>(&self, x: &[E], phases: &mut [E]) {
        for (row, x) in x.chunks_exact(self.input[1]).enumerate() {
            let Some(offset) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let phase = &mut phases[offset + phase * self.plane() + first..][..count];
                    let whole = x[start..].chunks_exact(STRIDE);
                    phase.iter_mut().zip(whole).for_each(|(element, x)| *element = x[0]);
                    phase[count - 1] = x[start + (count - 1) * STRIDE];
                }
            }
        }
    }

    /// Copies phases back to a plane.
    #[inline(always)]
    fn join<E: Element>(&self, phases: &[E], dx: &mut [E]) {
        for (row, dx) in dx.chunks_exact_mut(self.input[1]).enumerate() {
            let Some(offset) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let phase = &phases[offset + phase * self.plane() + first..][..count];
                    let whole = dx[start..].chunks_exact_mut(STRIDE);
                    whole.zip(phase).for_each(|(dx, element)| dx[0] = *element);
                    dx[start + (count - 1) * STRIDE] = phase[count - 1];
                }
            }
        }
    }
}
