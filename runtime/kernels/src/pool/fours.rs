//! The largest of each two by two elements, and its gradient, for f32: all four elements of a vector of windows are
//! in registers at once, and no choice is a branch, since nobody could predict which element was the largest.

use super::max::MaxPool;
use crate::memory::write_zeros;
use crate::planes::write_planes;
use crate::simd::{Isa, Kernel, Simd, dispatch_to};
use std::mem::MaybeUninit;

/// The largest elements of `x`, where the pool's windows lie side by side.
pub(super) fn largest(isa: Isa, pool: &MaxPool, x: &[f32]) -> Vec<f32> {
    let [from, to] = [pool.input, pool.output()].map(|[h, w]| h * w);
    // SAFETY: the kernel writes an element for every window.
    unsafe { write_planes(x, from, to, |_, x, y| dispatch_to(isa, Largest { pool, x, y })) }
}

/// The gradient of `x`, from `x`, its largest elements and their gradients.
pub(super) fn gradient(isa: Isa, pool: &MaxPool, [x, y, grad]: [&[f32]; 3]) -> Vec<f32> {
    let [from, to] = [pool.input, pool.output()].map(|[h, w]| h * w);
    let fill = |first: usize, x: &[f32], dx: &mut [MaybeUninit<f32>]| {
        if from != 4 * to {
            write_zeros(dx);
        }
        let range = first * to..first * to + x.len() / from * to;
        let (y, grad) = (&y[range.clone()], &grad[range]);
        dispatch_to(isa, Gradient { pool, x, y, grad, dx });
    };
    // SAFETY: the kernel writes the four elements of every window; where there are others, all are cleared before.
    unsafe { write_planes(x, from, from, fill) }
}

/// Some planes and, to be filled in, their largest elements.
struct Largest<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ([h, w], [rows, columns]) = (self.pool.input, self.pool.output());
        let planes = self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(rows * columns));
        for (x, y) in planes {
            for (x, y) in x.chunks_exact(2 * w).zip(y.chunks_exact_mut(columns)) {
                for column in (0..columns).step_by(S::LANES) {
                    let mut elements = fours(simd, x, w, column, columns).into_iter();
                    let mut largest = elements.next().unwrap_or(simd.zero());
                    for x in elements {
                        largest = simd.larger(largest, x);
                    }
                    store(simd, &mut y[column..], largest);
                }
            }
        }
    }
}

/// Some planes, their largest elements, the gradients of these and, to be filled in, of the planes.
struct Gradient<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a [f32],
    grad: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { pool, x, y, grad, dx } = self;
        let ([h, w], [rows, columns]) = (pool.input, pool.output());
        let outputs = y.chunks_exact(rows * columns).zip(grad.chunks_exact(rows * columns));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // The last NaN of a window is its maximum, and not the first equal element.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, write_zeros(dx));
                continue;
            }
            let inputs = x.chunks_exact(2 * w).zip(dx.chunks_exact_mut(2 * w));
            let outputs = y.chunks_exact(columns).zip(grad.chunks_exact(columns));
            for ((x, dx), (y, grad)) in inputs.zip(outputs) {
                for column in (0..columns).step_by(S::LANES) {
                    hand_over(simd, w, column, [x, y, grad], dx);
                }
            }
        }
    }
}

/// Hands the gradients of a vector of outputs to the first element of each window that equals the largest.
#[inline(always)]
fn hand_over<S: Simd>(
    simd: S,
    w: usize,
    column: usize,
    [x, y, grad]: [&[f32]; 3],
    dx: &mut [MaybeUninit<f32>],
) {
    let columns = y.len();
    let elements = fours(simd, x, w, column, columns);
    let (largest, mut left) = (load(simd, &y[column..]), load(simd, &grad[column..]));
    let mut given = elements;
    for (given, x) in given.iter_mut().zip(elements) {
        *given = simd.pick([x, largest], left, simd.zero());
        left = simd.pick([x, largest], simd.zero(), left);
    }
    for (row, pair) in given.chunks_exact(2).enumerate() {
        let [low, high] = simd.interleave(pair[0], pair[1]);
        let to = &mut dx[row * w..][2 * column..2 * columns];
        let (to, rest) = to.split_at_mut(to.len().min(S::LANES));
        store(simd, to, low);
        store(simd, rest, high);
    }
}

/// Of the windows from `column` on, the four elements in the order of PyTorch's search; zeros beyond the last window.
#[inline(always)]
fn fours<S: Simd>(simd: S, x: &[f32], w: usize, column: usize, columns: usize) -> [S::V; 4] {
    let mut elements = [simd.zero(); 4];
    for (row, elements) in elements.chunks_exact_mut(2).enumerate() {
        let from = &x[row * w..][2 * column..2 * columns];
        let (from, rest) = from.split_at(from.len().min(S::LANES));
        elements.copy_from_slice(&simd.deinterleave(load(simd, from), load(simd, rest)));
    }
    elements
}

/// As many elements as there are, at most a vector: that is the quicker one.
#[inline(always)]
fn load<S: Simd>(simd: S, from: &[f32]) -> S::V {
    // SAFETY: no more elements than the slice has.
    unsafe {
        if from.len() >= S::LANES {
            simd.load(from.as_ptr())
        } else {
            simd.load_partial(from.as_ptr(), from.len())
        }
    }
}

/// As [`load`].
#[inline(always)]
fn store<S: Simd>(simd: S, to: &mut [MaybeUninit<f32>], v: S::V) {
    let start = to.as_mut_ptr().cast();
    // SAFETY: no more elements than the slice has.
    unsafe {
        if to.len() >= S::LANES { simd.store(start, v) } else { simd.store_partial(start, to.len(), v) }
    }
}
