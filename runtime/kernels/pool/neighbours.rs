//! The gradient of the largest elements of windows that lie side by side, a row of windows at a time.

use super::max::{Across, MaxPool};
use crate::kernels::element::{Element, zeros};
use crate::kernels::simd::{Kernel, Simd};

/// Some planes: input, largest elements, the gradients of these and, to be filled in, of the input.
pub(super) struct Neighbours<'a, E> {
    pub pool: &'a MaxPool,
    pub across: Across,
    pub x: &'a [E],
    pub y: &'a [E],
    pub grad: &'a [E],
    pub dx: &'a mut [E],
}

impl<E: Element> Kernel for Neighbours<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match (self.across.kernel, self.across.stride) {
            (2, 2) => self.planes::<2, 2>(),
            (3, 2) => self.planes::<3, 2>(),
            _ => self.planes::<3, 1>(),
        }
    }
}

impl<E: Element> Neighbours<'_, E> {
    #[inline(always)]
    fn planes<const KERNEL: usize, const STRIDE: usize>(self) {
        let Self { pool, across, x, y, grad, dx } = self;
        let [h, w] = pool.input;
        let columns = pool.columns.len();
        let grid =
            Phases::<STRIDE> { width: w, padding: across.padding, count: columns + (KERNEL - 1) / STRIDE };
        // What is no element of the input equals no maximum.
        let mut elements = vec![E::from_f64(f64::NAN); h * STRIDE * grid.count];
        let mut gradients = zeros::<E>(elements.len());
        let mut left = zeros::<E>(columns);
        let size = pool.rows.len() * columns;
        let outputs = y.chunks_exact(size).zip(grad.chunks_exact(size));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // The last NaN of a window is its maximum, and not the first equal element.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, dx);
                continue;
            }
            grid.split(x, &mut elements);
            gradients.fill(E::ZERO);
            let outputs = y.chunks_exact(columns).zip(grad.chunks_exact(columns));
            for (rows, (y, grad)) in pool.rows.iter().zip(outputs) {
                left.copy_from_slice(grad);
                for tap in rows.clone().flat_map(|row| (0..KERNEL).map(move |column| (row, column))) {
                    let (row, column) = tap;
                    let from = (row * STRIDE + column % STRIDE) * grid.count + column / STRIDE;
                    hand_over(&elements[from..][..columns], y, &mut left, &mut gradients[from..][..columns]);
                }
            }
            grid.join(&gradients, dx);
        }
    }
}

/// Adds what is left of the outputs' gradients to that of the elements that equal the maximum. Nothing is
/// left then for the later ones of a window.
#[inline(always)]
fn hand_over<E: Element>(x: &[E], y: &[E], left: &mut [E], dx: &mut [E]) {
    for ((x, dx), (y, left)) in x.iter().zip(dx).zip(y.iter().zip(left)) {
        let found = *x == *y;
        *dx += if found { *left } else { E::ZERO };
        *left = if found { E::ZERO } else { *left };
    }
}

/// Rows of `width` elements between padding as `[row][phase][count]`: the elements every `STRIDE` columns
/// side by side.
struct Phases<const STRIDE: usize> {
    width: usize,
    padding: usize,
    count: usize,
}

impl<const STRIDE: usize> Phases<STRIDE> {
    /// For each phase: where it begins in a row, and the first and the number of its elements there.
    #[inline(always)]
    fn places(&self) -> [(usize, usize, usize); STRIDE] {
        std::array::from_fn(|phase| {
            let first = self.padding.saturating_sub(phase).div_ceil(STRIDE);
            let start = phase + first * STRIDE - self.padding;
            let count =
                self.width.saturating_sub(start).div_ceil(STRIDE).min(self.count.saturating_sub(first));
            (start, first, count)
        })
    }

    #[inline(always)]
    fn split<E: Element>(&self, x: &[E], to: &mut [E]) {
        let places = self.places();
        for (x, to) in x.chunks_exact(self.width).zip(to.chunks_exact_mut(STRIDE * self.count)) {
            for ((start, first, count), to) in places.into_iter().zip(to.chunks_exact_mut(self.count)) {
                if count > 0 {
                    let to = &mut to[first..first + count];
                    let (last, whole) = (x[start + (count - 1) * STRIDE], x[start..].chunks_exact(STRIDE));
                    to.iter_mut().zip(whole).for_each(|(to, x)| *to = x[0]);
                    to[count - 1] = last;
                }
            }
        }
    }

    #[inline(always)]
    fn join<E: Element>(&self, from: &[E], dx: &mut [E]) {
        let places = self.places();
        for (dx, from) in dx.chunks_exact_mut(self.width).zip(from.chunks_exact(STRIDE * self.count)) {
            for ((start, first, count), from) in places.into_iter().zip(from.chunks_exact(self.count)) {
                if count > 0 {
                    let from = &from[first..first + count];
                    let whole = dx[start..].chunks_exact_mut(STRIDE);
                    whole.zip(from).for_each(|(dx, from)| dx[0] = *from);
                    dx[start + (count - 1) * STRIDE] = from[count - 1];
                }
            }
        }
    }
}
