//! The largest of each two by two elements, and its gradient, for f32: all four elements of a vector of windows are
//! in registers at once, and no choice is a branch, since nobody could predict which element was the largest.

use super::max::MaxPool;
use crate::kernels::planes::map_planes;
use crate::kernels::simd::{Isa, Kernel, Simd, dispatch_to};

/// The largest elements of `x`, where the pool's windows lie side by side.
pub(super) fn largest(isa: Isa, pool: &MaxPool, x: &[f32]) -> Vec<f32> {
    let [from, to] = [pool.input, pool.output()].map(|[h, w]| h * w);
    map_planes(x, from, to, |_, x, y| dispatch_to(isa, Largest { pool, x, y }))
}

/// The gradient of `x`, from `x`, its largest elements and their gradients.
pub(super) fn gradient(isa: Isa, pool: &MaxPool, [x, y, grad]: [&[f32]; 3]) -> Vec<f32> {
    let [from, to] = [pool.input, pool.output()].map(|[h, w]| h * w);
    map_planes(x, from, from, |first, x, dx| {
        let range = first * to..first * to + x.len() / from * to;
        let (y, grad) = (&y[range.clone()], &grad[range]);
        dispatch_to(isa, Gradient { pool, x, y, grad, dx });
    })
}

/// Some planes and, to be filled in, their largest elements.
struct Largest<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
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
                    let first = elements.next().unwrap_or(simd.zero());
                    let mut largest = first;
                    for x in elements {
                        // The first of equal ones, and NaN where either is.
                        largest = simd.pick([x, x], simd.max(x, largest), x);
                    }
                    let y = &mut y[column..];
                    // SAFETY: so many elements are left of the row.
                    unsafe { store(simd, y.as_mut_ptr(), y.len().min(S::LANES), largest) };
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
    dx: &'a mut [f32],
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
                pool.scatter(x, y, grad, dx);
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
fn hand_over<S: Simd>(simd: S, w: usize, column: usize, [x, y, grad]: [&[f32]; 3], dx: &mut [f32]) {
    let columns = y.len();
    let elements = fours(simd, x, w, column, columns);
    let count = S::LANES.min(columns - column);
    // SAFETY: so many elements are left of either row.
    let (largest, mut left) =
        unsafe { (load(simd, y[column..].as_ptr(), count), load(simd, grad[column..].as_ptr(), count)) };
    let mut given = elements;
    for (given, x) in given.iter_mut().zip(elements) {
        *given = simd.pick([x, largest], left, simd.zero());
        left = simd.pick([x, largest], simd.zero(), left);
    }
    for (row, pair) in given.chunks_exact(2).enumerate() {
        let [low, high] = simd.interleave(pair[0], pair[1]);
        let to = &mut dx[row * w + 2 * column..][..2 * count];
        let first = to.len().min(S::LANES);
        let (to, rest) = to.split_at_mut(first);
        // SAFETY: as many elements as either part has.
        unsafe {
            store(simd, to.as_mut_ptr(), to.len(), low);
            store(simd, rest.as_mut_ptr(), rest.len(), high);
        }
    }
}

/// Of the windows from `column` on, the four elements in the order of PyTorch's search; zeros beyond the last window.
#[inline(always)]
fn fours<S: Simd>(simd: S, x: &[f32], w: usize, column: usize, columns: usize) -> [S::V; 4] {
    let count = 2 * S::LANES.min(columns - column);
    let mut elements = [simd.zero(); 4];
    for (row, elements) in elements.chunks_exact_mut(2).enumerate() {
        let from = &x[row * w + 2 * column..][..count];
        let (from, rest) = from.split_at(count.min(S::LANES));
        // SAFETY: as many elements as either part has.
        let [low, high] =
            unsafe { [load(simd, from.as_ptr(), from.len()), load(simd, rest.as_ptr(), rest.len())] };
        elements.copy_from_slice(&simd.deinterleave(low, high));
    }
    elements
}

/// The first `count` elements, of which a whole vector is the quicker one.
///
/// # Safety
/// They are in bounds.
#[inline(always)]
unsafe fn load<S: Simd>(simd: S, from: *const f32, count: usize) -> S::V {
    // SAFETY: the caller's promise.
    if count == S::LANES { unsafe { simd.load(from) } } else { unsafe { simd.load_partial(from, count) } }
}

/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn store<S: Simd>(simd: S, to: *mut f32, count: usize, v: S::V) {
    // SAFETY: the caller's promise.
    if count == S::LANES { unsafe { simd.store(to, v) } } else { unsafe { simd.store_partial(to, count, v) } }
}
