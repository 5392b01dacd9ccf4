//! The gradient of the largest elements of windows that lie side by side, tap by tap over whole planes.
//!
//! The elements that one tap of all windows meets are laid out as the outputs are, so that each tap is one
//! pass of vectors without a branch: nobody could predict which element was the largest.

use super::max::{Across, MaxPool};
use crate::element::Element;
use crate::memory::zeros;
use crate::simd::{Kernel, Simd};

/// Elements that a step of a pass handles.
const STEP: usize = 8;

/// Some planes: input, largest elements, the gradients of these and, to be filled in, of the input.
pub(super) struct Neighbours<'a, E> {
    pub pool: &'a MaxPool,
    /// The windows down the rows and across the columns.
    pub windows: [Across; 2],
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
    pub dx: &'a mut [E],
}

impl<E: Element> Kernel for Neighbours<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.windows[1].stride {
            1 => self.planes::<1>(),
            _ => self.planes::<2>(),
        }
    }
}

impl<E: Element> Neighbours<'_, E> {
    /// All planes, for windows `STRIDE` columns apart.
    #[inline(always)]
    fn planes<const STRIDE: usize>(self) {
        let Self { pool, windows, x, y, grad, dx } = self;
        let ([h, w], [rows, columns]) = (pool.input, pool.output());
        let phases = Phases::<STRIDE>::new(windows, pool.input, pool.output());
        let pitch = phases.counts[1];
        let run = (rows * pitch).next_multiple_of(STEP);
        // What is no element of the input equals no maximum, and what is no maximum no element.
        let nan = E::from_f64(f64::NAN);
        let mut elements = vec![nan; phases.len() + run];
        let mut gradients = zeros::<E>(elements.len());
        let (mut largest, mut left) = (vec![nan; run], zeros::<E>(run));
        let outputs = y.chunks_exact(rows * columns).zip(grad.chunks_exact(rows * columns));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // The last NaN of a window is its maximum, and not the first equal element.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, dx);
                continue;
            }
            phases.split(x, &mut elements);
            gradients.fill(E::ZERO);
            for (to, from) in [(&mut largest, y), (&mut left, grad)] {
                let rows = to.chunks_exact_mut(pitch).zip(from.chunks_exact(columns));
                rows.for_each(|(to, from)| to[..columns].copy_from_slice(from));
            }
            for tap in phases.taps() {
                hand_over(&elements[tap..][..run], &largest, &mut left, &mut gradients[tap..][..run]);
            }
            phases.join(&gradients, dx);
        }
    }
}

/// Adds what is left of the outputs' gradients to that of the elements that equal the maximum. Nothing is
/// left then for the later ones of a window.
#[inline(always)]
fn hand_over<E: Element>(x: &[E], y: &[E], left: &mut [E], dx: &mut [E]) {
    let elements = x.chunks_exact(STEP).zip(dx.chunks_exact_mut(STEP));
    let outputs = y.chunks_exact(STEP).zip(left.chunks_exact_mut(STEP));
    for ((x, dx), (y, left)) in elements.zip(outputs) {
        let mut given = [E::ZERO; STEP];
        let mut kept = [E::ZERO; STEP];
        for i in 0..STEP {
            let found = x[i] == y[i];
            given[i] = if found { left[i] } else { E::ZERO };
            kept[i] = if found { E::ZERO } else { left[i] };
        }
        for i in 0..STEP {
            dx[i] += given[i];
        }
        left.copy_from_slice(&kept);
    }
}

/// Planes as `[row phase][column phase][row][column]`: the elements every so many rows, and every `STRIDE`
/// columns, side by side.
struct Phases<const STRIDE: usize> {
    windows: [Across; 2],
    input: [usize; 2],
    /// Rows and columns of a phase.
    counts: [usize; 2],
}

impl<const STRIDE: usize> Phases<STRIDE> {
    fn new(windows: [Across; 2], input: [usize; 2], output: [usize; 2]) -> Self {
        let counts = [0, 1].map(|axis| output[axis] + (windows[axis].kernel - 1) / windows[axis].stride);
        Self { windows, input, counts }
    }

    fn plane(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    fn len(&self) -> usize {
        self.windows[0].stride * STRIDE * self.plane()
    }

    /// Where each tap meets the first window, in the order of PyTorch's search.
    fn taps(&self) -> impl Iterator<Item = usize> {
        let [down, across] = self.windows;
        let taps = (0..down.kernel).flat_map(move |row| (0..across.kernel).map(move |column| (row, column)));
        taps.map(move |(row, column)| {
            let phase = row % down.stride * STRIDE + column % STRIDE;
            phase * self.plane() + row / down.stride * self.counts[1] + column / STRIDE
        })
    }

    /// Where the first column phase of an input row begins, if a window reaches that row.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<usize> {
        let Across { stride, padding, .. } = self.windows[0];
        let (phase, index) = ((row + padding) % stride, (row + padding) / stride);
        (index < self.counts[0]).then(|| phase * STRIDE * self.plane() + index * self.counts[1])
    }

    /// For a column phase: where it begins in a row, and the first and the number of its elements there.
    #[inline(always)]
    fn columns(&self, phase: usize) -> (usize, usize, usize) {
        let padding = self.windows[1].padding;
        let first = padding.saturating_sub(phase).div_ceil(STRIDE);
        let start = phase + first * STRIDE - padding;
        let count = self.input[1].saturating_sub(start).div_ceil(STRIDE);
        (start, first, count.min(self.counts[1].saturating_sub(first)))
    }

    #[inline(always)]
    fn split<E: Element>(&self, x: &[E], to: &mut [E]) {
        for (row, x) in x.chunks_exact(self.input[1]).enumerate() {
            let Some(from) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let to = &mut to[from + phase * self.plane() + first..][..count];
                    let whole = x[start..].chunks_exact(STRIDE);
                    to.iter_mut().zip(whole).for_each(|(to, x)| *to = x[0]);
                    to[count - 1] = x[start + (count - 1) * STRIDE];
                }
            }
        }
    }

    #[inline(always)]
    fn join<E: Element>(&self, from: &[E], dx: &mut [E]) {
        for (row, dx) in dx.chunks_exact_mut(self.input[1]).enumerate() {
            let Some(place) = self.row(row) else { continue };
            for phase in 0..STRIDE {
                let (start, first, count) = self.columns(phase);
                if count > 0 {
                    let from = &from[place + phase * self.plane() + first..][..count];
                    let whole = dx[start..].chunks_exact_mut(STRIDE);
                    whole.zip(from).for_each(|(dx, from)| dx[0] = *from);
                    dx[start + (count - 1) * STRIDE] = from[count - 1];
                }
            }
        }
    }
}
