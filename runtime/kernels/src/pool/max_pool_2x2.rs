//! The gradient of 2×2 max pooling with stride 2, for f32. Each iteration handles as many windows as a vector has
//! lanes. Four vectors in registers hold the elements of these windows: each lane has the four elements of one window.
//! The code selects elements without branches, because branches would be unpredictable.

use std::mem::MaybeUninit;

use crate::memory::write_zeros;
use crate::planes::write_planes;
use crate::simd::{Isa, Kernel, Simd, dispatch_to};

use super::max::MaxPool;

/// Returns the gradient of `x` from `x`, the output and the gradient of the output.
pub(super) fn gradient(isa: Isa, pool: &MaxPool, [x, y, grad]: [&[f32]; 3]) -> Vec<f32> {
    let [input_len, output_len] = [pool.input, pool.output()].map(|[h, w]| h * w);
    let fill = |first: usize, x: &[f32], dx: &mut [MaybeUninit<f32>]| {
        if input_len != 4 * output_len {
            write_zeros(dx);
        }
        let start = first * output_len;
        let range = start..start + x.len() / input_len * output_len;
        let (y, grad) = (&y[range.clone()], &grad[range]);
        dispatch_to(isa, Backward { pool, x, y, grad, dx });
    };
    // SAFETY: the kernel writes the four elements of every window. If a plane has elements outside all windows, `fill`
    // first clears the whole plane.
    unsafe { write_planes(x, input_len, input_len, fill) }
}

/// The backward pass over several planes. Writes the gradient of `x` to `dx`.
struct Backward<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a [f32],
    grad: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { pool, x, y, grad, dx } = self;
        let ([h, w], [rows, columns]) = (pool.input, pool.output());
        let outputs = y.chunks_exact(rows * columns).zip(grad.chunks_exact(rows * columns));
        for ((x, dx), (y, grad)) in x.chunks_exact(h * w).zip(dx.chunks_exact_mut(h * w)).zip(outputs) {
            // The gradient of a window with NaN belongs to the last NaN, which does not compare equal to the maximum.
            if y.iter().fold(false, |any, y| any | y.is_nan()) {
                pool.scatter(x, y, grad, write_zeros(dx));
                continue;
            }
            let inputs = x.chunks_exact(2 * w).zip(dx.chunks_exact_mut(2 * w));
            let outputs = y.chunks_exact(columns).zip(grad.chunks_exact(columns));
            for ((x, dx), (y, grad)) in inputs.zip(outputs) {
                for column in (0..columns).step_by(S::LANES) {
                    route_gradients(simd, w, column, [x, y, grad], dx);
                }
            }
        }
    }
}

/// Writes the gradients of the elements of several windows, one window for each lane: the first element that equals the
/// window's maximum receives the gradient of the window's output, and the other three receive 0.
#[inline(always)]
fn route_gradients<S: Simd>(
    simd: S,
    w: usize,
    column: usize,
    [x, y, grad]: [&[f32]; 3],
    dx: &mut [MaybeUninit<f32>],
) {
    let columns = y.len();
    let elements = load_windows(simd, x, w, column, columns);
    let largest = load(simd, &y[column..]);
    let mut remaining = load(simd, &grad[column..]);
    let mut routed = elements;
    for (routed, x) in routed.iter_mut().zip(elements) {
        *routed = simd.select_equal([x, largest], remaining, simd.zero());
        remaining = simd.select_equal([x, largest], simd.zero(), remaining);
    }
    for (row, pair) in routed.chunks_exact(2).enumerate() {
        let [low, high] = simd.interleave(pair[0], pair[1]);
        let output = &mut dx[row * w..][2 * column..2 * columns];
        let (first, rest) = output.split_at_mut(output.len().min(S::LANES));
        store(simd, first, low);
        store(simd, rest, high);
    }
}

/// Loads one window for each lane, beginning with the window of output column `column`. Returns four vectors: element 0
/// of each window, then elements 1, 2 and 3, in row-major order. Lanes after the last window are zero.
#[inline(always)]
fn load_windows<S: Simd>(simd: S, x: &[f32], w: usize, column: usize, columns: usize) -> [S::V; 4] {
    let mut elements = [simd.zero(); 4];
    for (row, elements) in elements.chunks_exact_mut(2).enumerate() {
        let input = &x[row * w..][2 * column..2 * columns];
        let (first, rest) = input.split_at(input.len().min(S::LANES));
        elements.copy_from_slice(&simd.deinterleave(load(simd, first), load(simd, rest)));
    }
    elements
}

/// Loads a full vector if the slice is long enough, which is faster than a partial load. Otherwise loads the whole
/// slice.
#[inline(always)]
fn load<S: Simd>(simd: S, slice: &[f32]) -> S::V {
    // SAFETY: the full load runs only if the slice has `S::LANES` elements; the partial load reads `slice.len()`.
    unsafe {
        if slice.len() >= S::LANES {
            simd.load(slice.as_ptr())
        } else {
            simd.load_partial(slice.as_ptr(), slice.len())
        }
    }
}

/// Stores a full vector if the slice is long enough, and only the first `slice.len()` lanes otherwise.
#[inline(always)]
fn store<S: Simd>(simd: S, slice: &mut [MaybeUninit<f32>], v: S::V) {
    let start = slice.as_mut_ptr().cast();
    // SAFETY: the full store runs only if the slice has `S::LANES` elements; the partial store writes `slice.len()`.
    unsafe {
        if slice.len() >= S::LANES { simd.store(start, v) } else { simd.store_partial(start, slice.len(), v) }
    }
}
