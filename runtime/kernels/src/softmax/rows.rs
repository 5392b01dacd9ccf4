//! The kernels of softmax on whole rows: vectors for f32, loops for f64.

use std::mem::MaybeUninit;

use crate::channels::sums;
use crate::element::Element;
use crate::number::Number;
use crate::simd::{Kernel, Simd, VectorLoop, Vectors, dispatch, dispatch_loops, run_vector_loop};

use super::Softmax;

/// An element type of softmax.
pub(super) trait RowElement: Element {
    /// Computes the softmax of rows of `row_len` elements. Initializes every element of `y`, which has the length of
    /// `x`.
    fn forward(softmax: Softmax, row_len: usize, x: &[Self], y: &mut [MaybeUninit<Self>]);

    /// Computes the gradient of rows of `row_len` elements from `[y, grad]`, the output and its gradient. Initializes
    /// every element of `dx`, which has the length of `y` and of `grad`.
    fn backward(softmax: Softmax, row_len: usize, inputs: [&[Self]; 2], dx: &mut [MaybeUninit<Self>]);
}

impl RowElement for f32 {
    fn forward(softmax: Softmax, row_len: usize, x: &[f32], y: &mut [MaybeUninit<f32>]) {
        dispatch(Forward { softmax, row_len, x, y });
    }

    fn backward(softmax: Softmax, row_len: usize, [y, grad]: [&[f32]; 2], dx: &mut [MaybeUninit<f32>]) {
        dispatch(Backward { softmax, row_len, y, grad, dx });
    }
}

/// Computes the softmax of rows.
struct Forward<'a> {
    softmax: Softmax,
    row_len: usize,
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { softmax, row_len, x, y } = self;
        for (x, y) in x.chunks_exact(row_len).zip(y.chunks_exact_mut(row_len)) {
            forward_row(simd, softmax, x, y);
        }
    }
}

#[inline(always)]
fn forward_row<S: Simd>(simd: S, softmax: Softmax, x: &[f32], y: &mut [MaybeUninit<f32>]) {
    assert_eq!(x.len(), y.len());
    let max = largest(simd, x);
    if softmax.masked && is_masked(x, max) {
        y.fill(MaybeUninit::new(0.));
        return;
    }
    let len = y.len();
    let to = y.as_mut_ptr().cast::<f32>();
    if softmax.log {
        // ln Σ e^(x - max), in f64.
        let shift = sum_of_exponentials::<S, false>(simd, x, max, to).ln() as f32;
        run_vector_loop(simd, len, Shifted { simd, x: x.as_ptr(), to, max, shift });
    } else {
        let sum = sum_of_exponentials::<S, true>(simd, x, max, to);
        run_vector_loop(simd, len, Scaled { simd, to, scale: (1. / sum) as f32 });
    }
}

/// Returns `true` if all elements are -∞, given the largest one.
fn is_masked<E: Element>(x: &[E], max: E) -> bool {
    max == E::NEG_INFINITY && x.iter().all(|x| *x == E::NEG_INFINITY)
}

/// The number of vectors of partial results. Several independent vectors hide the latency of the instructions.
const PARTS: usize = 4;

/// The maximum number of elements that are summed in f32. In longer rows, the sums of parts of this length are added in
/// f64, so that the rounding error does not grow with the length of a row.
const F32_SUM_LEN: usize = 1024;

/// Returns the largest element. May ignore NaN, because the sum of exponentials propagates NaN.
#[inline(always)]
fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut max = Largest {
        simd,
        x: x.as_ptr(),
        parts: [simd.splat(f32::NEG_INFINITY); PARTS],
        rest: f32::NEG_INFINITY,
    };
    run_vector_loop(simd, x.len(), &mut max);
    let [a, b, c, d] = max.parts;
    let mut lanes = [f32::NEG_INFINITY; 16];
    // SAFETY: a vector has at most 16 lanes.
    unsafe { simd.store(lanes.as_mut_ptr(), simd.max(simd.max(a, b), simd.max(c, d))) };
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = larger(lanes[i], lanes[i + half]);
        }
    }
    larger(max.rest, lanes[0])
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The loop that computes the maximum of a slice.
struct Largest<S: Simd> {
    simd: S,
    x: *const f32,
    /// The maxima of whole vectors, lane by lane.
    parts: [S::V; PARTS],
    /// The maximum of the elements after the last whole vector.
    rest: f32,
}

impl<S: Simd> VectorLoop<S> for &mut Largest<S> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        for i in 0..N {
            // SAFETY: the caller guarantees that the slice has the elements `at..at + N * LANES`.
            let x = unsafe { self.simd.load(self.x.add(at + i * S::LANES)) };
            self.parts[i] = self.simd.max(x, self.parts[i]);
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        for i in 0..n {
            // SAFETY: the caller guarantees that the slice has the elements `at..at + n`.
            self.rest = larger(unsafe { *self.x.add(at + i) }, self.rest);
        }
    }
}

/// Returns `Σ e^(x - max)`. With `STORE`, stores the exponentials at `to`, which must have room for `x.len()` floats.
/// Without `STORE`, counts the elements equal to `max`, whose exponentials are 1, separately. In f32, the small
/// exponentials would lose digits if they were added to 1, and the logarithm of a sum close to 1 depends on them.
#[inline(always)]
fn sum_of_exponentials<S: Simd, const STORE: bool>(simd: S, x: &[f32], max: f32, to: *mut f32) -> f64 {
    let mut total = 0.;
    for (i, x) in x.chunks(F32_SUM_LEN).enumerate() {
        let to = to.wrapping_add(i * F32_SUM_LEN);
        let zeros = [simd.zero(); PARTS];
        let mut sum =
            ExponentialSum::<S, STORE> { simd, x: x.as_ptr(), to, max, parts: zeros, max_counts: zeros };
        run_vector_loop(simd, x.len(), &mut sum);
        total += sum_of_parts(simd, sum.parts) + sum_of_parts(simd, sum.max_counts);
    }
    total
}

#[inline(always)]
fn sum_of_parts<S: Simd>(simd: S, [a, b, c, d]: [S::V; PARTS]) -> f64 {
    f64::from(simd.sum(simd.add(simd.add(a, b), simd.add(c, d))))
}

/// The loop that computes the sum of the exponentials of a slice.
struct ExponentialSum<S: Simd, const STORE: bool> {
    simd: S,
    x: *const f32,
    to: *mut f32,
    max: f32,
    parts: [S::V; PARTS],
    /// Without `STORE`, the numbers of elements equal to `max`, which are not part of `parts`. With `STORE`, zeros.
    max_counts: [S::V; PARTS],
}

impl<S: Simd, const STORE: bool> ExponentialSum<S, STORE> {
    /// Returns the exponentials, the numbers to add to `parts`, and the numbers to add to `max_counts`.
    #[inline(always)]
    fn exponentials<const N: usize>(&self, x: Vectors<S, N>) -> [Vectors<S, N>; 3] {
        let zero = Vectors::splat(self.simd, 0.);
        let shifted = x - Vectors::splat(self.simd, self.max);
        let power = shifted.exp();
        if STORE {
            return [power, power, zero];
        }
        let is_max = shifted.where_less(zero, zero, Vectors::splat(self.simd, 1.));
        [power, power - is_max, is_max]
    }
}

impl<S: Simd, const STORE: bool> VectorLoop<S> for &mut ExponentialSum<S, STORE> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        // SAFETY: the caller guarantees that both slices have the elements `at..at + N * LANES`.
        unsafe {
            let [power, summand, is_max] =
                self.exponentials(Vectors::<S, N>::load(self.simd, self.x.add(at)));
            if STORE {
                power.store(self.to.add(at));
            }
            for i in 0..N {
                self.parts[i] = self.simd.add(self.parts[i], summand.vectors[i]);
                if !STORE {
                    self.max_counts[i] = self.simd.add(self.max_counts[i], is_max.vectors[i]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that both slices have the elements `at..at + n`.
        unsafe {
            let [power, summand, is_max] =
                self.exponentials(Vectors::load_partial(self.simd, self.x.add(at), n));
            if STORE {
                power.store_partial(self.to.add(at), n);
            }
            let lanes = self.simd.mask(0, n);
            self.parts[0] = self.simd.add(self.parts[0], self.simd.keep_lanes(summand.vectors[0], lanes));
            let is_max = self.simd.keep_lanes(is_max.vectors[0], lanes);
            self.max_counts[0] = self.simd.add(self.max_counts[0], is_max);
        }
    }
}

/// Multiplies numbers by `scale`, in place.
struct Scaled<S> {
    simd: S,
    to: *mut f32,
    scale: f32,
}

impl<S: Simd> VectorLoop<S> for Scaled<S> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        // SAFETY: the caller guarantees that the slice has the elements `at..at + N * LANES`.
        unsafe {
            let y = Vectors::<S, N>::load(self.simd, self.to.add(at));
            (y * Vectors::splat(self.simd, self.scale)).store(self.to.add(at));
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that the slice has the elements `at..at + n`.
        unsafe {
            let y = Vectors::load_partial(self.simd, self.to.add(at), n);
            (y * Vectors::splat(self.simd, self.scale)).store_partial(self.to.add(at), n);
        }
    }
}

/// Stores `(x - max) - shift`.
struct Shifted<S> {
    simd: S,
    x: *const f32,
    to: *mut f32,
    max: f32,
    shift: f32,
}

impl<S: Simd> Shifted<S> {
    #[inline(always)]
    fn value<const N: usize>(&self, x: Vectors<S, N>) -> Vectors<S, N> {
        (x - Vectors::splat(self.simd, self.max)) - Vectors::splat(self.simd, self.shift)
    }
}

impl<S: Simd> VectorLoop<S> for Shifted<S> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        // SAFETY: the caller guarantees that both slices have the elements `at..at + N * LANES`.
        unsafe { self.value(Vectors::<S, N>::load(self.simd, self.x.add(at))).store(self.to.add(at)) }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that both slices have the elements `at..at + n`.
        unsafe {
            self.value(Vectors::load_partial(self.simd, self.x.add(at), n)).store_partial(self.to.add(at), n)
        }
    }
}

/// Computes `y (grad - Σ grad y)` for softmax, and `grad - e^y Σ grad` for log-softmax.
struct Backward<'a> {
    softmax: Softmax,
    row_len: usize,
    y: &'a [f32],
    grad: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { softmax, row_len, y, grad, dx } = self;
        let inputs = y.chunks_exact(row_len).zip(grad.chunks_exact(row_len));
        for (dx, (y, grad)) in dx.chunks_exact_mut(row_len).zip(inputs) {
            if softmax.log {
                backward_row::<S, true>(simd, y, grad, dx);
            } else {
                backward_row::<S, false>(simd, y, grad, dx);
            }
        }
    }
}

#[inline(always)]
fn backward_row<S: Simd, const LOG: bool>(simd: S, y: &[f32], grad: &[f32], dx: &mut [MaybeUninit<f32>]) {
    assert!(y.len() == dx.len() && grad.len() == dx.len());
    let mut total = 0.;
    for (y, grad) in y.chunks(F32_SUM_LEN).zip(grad.chunks(F32_SUM_LEN)) {
        let parts = [simd.zero(); PARTS];
        let mut sum = GradientSum::<S, LOG> { simd, y: y.as_ptr(), grad: grad.as_ptr(), parts };
        run_vector_loop(simd, y.len(), &mut sum);
        total += sum_of_parts(simd, sum.parts);
    }
    let to = dx.as_mut_ptr().cast();
    let gradient = Gradient::<S, LOG> { simd, y: y.as_ptr(), grad: grad.as_ptr(), to, sum: total as f32 };
    run_vector_loop(simd, y.len(), gradient);
}

/// Sums `grad y` for softmax, and `grad` for log-softmax.
struct GradientSum<S: Simd, const LOG: bool> {
    simd: S,
    y: *const f32,
    grad: *const f32,
    parts: [S::V; PARTS],
}

impl<S: Simd, const LOG: bool> VectorLoop<S> for &mut GradientSum<S, LOG> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        for (i, part) in self.parts.iter_mut().enumerate().take(N) {
            let at = at + i * S::LANES;
            // SAFETY: the caller guarantees that both slices have the elements `at..at + N * LANES`.
            unsafe {
                let grad = self.simd.load(self.grad.add(at));
                *part = if LOG {
                    self.simd.add(grad, *part)
                } else {
                    self.simd.fma(grad, self.simd.load(self.y.add(at)), *part)
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that both slices have the elements `at..at + n`. The other lanes are zero.
        unsafe {
            let grad = self.simd.load_partial(self.grad.add(at), n);
            let y = self.simd.load_partial(self.y.add(at), n);
            self.parts[0] =
                if LOG { self.simd.add(grad, self.parts[0]) } else { self.simd.fma(grad, y, self.parts[0]) };
        }
    }
}

/// Stores the gradient of the input, given the `sum` of [`GradientSum`].
struct Gradient<S, const LOG: bool> {
    simd: S,
    y: *const f32,
    grad: *const f32,
    to: *mut f32,
    sum: f32,
}

impl<S: Simd, const LOG: bool> Gradient<S, LOG> {
    #[inline(always)]
    fn value<const N: usize>(&self, y: Vectors<S, N>, grad: Vectors<S, N>) -> Vectors<S, N> {
        let sum = Vectors::splat(self.simd, self.sum);
        if LOG { grad - y.exp() * sum } else { y * (grad - sum) }
    }
}

impl<S: Simd, const LOG: bool> VectorLoop<S> for Gradient<S, LOG> {
    #[inline(always)]
    unsafe fn body<const N: usize>(&mut self, at: usize) {
        // SAFETY: the caller guarantees that all three slices have the elements `at..at + N * LANES`.
        unsafe {
            let y = Vectors::<S, N>::load(self.simd, self.y.add(at));
            let grad = Vectors::load(self.simd, self.grad.add(at));
            self.value(y, grad).store(self.to.add(at));
        }
    }

    #[inline(always)]
    unsafe fn remainder(&mut self, at: usize, n: usize) {
        // SAFETY: the caller guarantees that all three slices have the elements `at..at + n`.
        unsafe {
            let y = Vectors::load_partial(self.simd, self.y.add(at), n);
            let grad = Vectors::load_partial(self.simd, self.grad.add(at), n);
            self.value(y, grad).store_partial(self.to.add(at), n);
        }
    }
}

impl RowElement for f64 {
    fn forward(softmax: Softmax, row_len: usize, x: &[f64], y: &mut [MaybeUninit<f64>]) {
        for (x, y) in x.chunks_exact(row_len).zip(y.chunks_exact_mut(row_len)) {
            dispatch_loops(ForwardLoops { softmax, x, y });
        }
    }

    fn backward(softmax: Softmax, row_len: usize, [y, grad]: [&[f64]; 2], dx: &mut [MaybeUninit<f64>]) {
        let log = softmax.log;
        let inputs = y.chunks_exact(row_len).zip(grad.chunks_exact(row_len));
        for (dx, (y, grad)) in dx.chunks_exact_mut(row_len).zip(inputs) {
            let [sum] = sums(y, grad, |y, grad| [if log { grad } else { grad * y }]);
            for (dx, (y, grad)) in dx.iter_mut().zip(y.iter().zip(grad)) {
                dx.write(if log { grad - y.exp() * sum } else { y * (grad - sum) });
            }
        }
    }
}

/// Computes the softmax of one row of `f64`s.
struct ForwardLoops<'a> {
    softmax: Softmax,
    x: &'a [f64],
    y: &'a mut [MaybeUninit<f64>],
}

impl Kernel for ForwardLoops<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { softmax, x, y } = self;
        // Ignores NaN, which the sum of exponentials propagates.
        let max = x.iter().fold(f64::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
        if softmax.masked && is_masked(x, max) {
            y.fill(MaybeUninit::new(0.));
            return;
        }
        let mut sum = 0.;
        for (y, x) in y.iter_mut().zip(x) {
            sum += *y.write(f64::exp(*x - max));
        }
        for (y, x) in y.iter_mut().zip(x) {
            // SAFETY: the loop above has written every element.
            let power = unsafe { y.assume_init() };
            y.write(if softmax.log { x - max - sum.ln() } else { power / sum });
        }
    }
}
