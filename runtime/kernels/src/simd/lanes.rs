//! Vectors of `f32` and of `f64`, for kernels that are generic over the two types.
//!
//! These kernels are generic over [`Lanes`]. The `f32` vector is the vector of the instruction set in use. The `f64`
//! vector is an array of four numbers, compiled for that instruction set.

use crate::element::Element;

use super::{Half, Isa, Kernel, Simd, dispatch_loops_to, dispatch_to, transpose};

/// The maximum of [`Lanes::LANES`].
pub(crate) const MAX_LANES: usize = 16;

/// A floating-point number with a vector type.
pub(crate) trait Real: Element {
    /// Returns the number of lanes of the vectors of `isa`.
    fn lanes(isa: Isa) -> usize;

    /// Returns the number with the given bits, for [`Lanes::permute`].
    fn from_position(position: usize) -> Self;

    /// Runs `task` with the vectors of `isa`.
    fn dispatch<T: Task<Self>>(isa: Isa, task: T);
}

/// A task of a parallel loop, generic over the vector type. It holds the part of the result that it writes.
pub(crate) trait Task<R: Real>: Send {
    /// Runs the task. The method must be `#[inline(always)]`, and so must every function called in its inner loops.
    fn run<L: Lanes<Real = R>>(self, lanes: L);
}

/// The operations on vectors of the number type [`Real`](Self::Real). As for [`Simd`], a value of an implementing type
/// proves that the machine has the instruction set.
///
/// # Safety
/// Methods with a pointer read or write `LANES` consecutive numbers (`n < LANES` numbers for the `_partial` methods,
/// `n ≤ LANES` numbers of 16 bits for the `_half` methods, `LANES` rows of `LANES` numbers for `transpose`). The caller
/// guarantees that these are in bounds; no alignment is needed. The lanes `n..LANES` load as zero.
pub(crate) trait Lanes: Copy {
    type Real: Real;
    type V: Copy;
    const LANES: usize;
    /// The number of vector registers that an inner loop may use.
    const REGISTERS: usize;

    fn splat(self, x: Self::Real) -> Self::V;
    unsafe fn load(self, from: *const Self::Real) -> Self::V;
    unsafe fn load_partial(self, from: *const Self::Real, n: usize) -> Self::V;
    unsafe fn store(self, to: *mut Self::Real, v: Self::V);
    unsafe fn store_partial(self, to: *mut Self::Real, n: usize, v: Self::V);
    /// Loads `n ≤ LANES` numbers of f16 or bf16 and converts them to f32. Only for vectors of `f32`s.
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> Self::V;
    /// Rounds the first `n ≤ LANES` lanes to f16 or bf16 and stores them. Only for vectors of `f32`s.
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: Self::V);
    /// Transposes a block of `LANES × LANES` numbers: writes row `i` of one block as column `i` of the other.
    unsafe fn transpose(
        self,
        from: *const Self::Real,
        from_stride: usize,
        to: *mut Self::Real,
        to_stride: usize,
    );
    /// Lane `i` of the result is element `p` of `a` followed by `b`, where lane `i` of `positions` is
    /// [`Real::from_position`] of `p`. Requires `p < 2 · LANES`.
    fn permute(self, a_and_b: [Self::V; 2], positions: Self::V) -> Self::V;
    /// Returns the larger of two values; NaN if either is NaN.
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns in each lane `then` if `a < b`, and `otherwise` if not.
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a * b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Returns the sum of all lanes, added in a fixed order.
    fn sum(self, v: Self::V) -> Self::Real;
}

/// Adapts [`Task`] on `f32`s to [`Kernel`].
struct SingleKernel<T>(T);

impl<T: Task<f32>> Kernel for SingleKernel<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(Floats::new(simd));
    }
}

impl Real for f32 {
    fn lanes(isa: Isa) -> usize {
        isa.lanes()
    }

    fn from_position(position: usize) -> Self {
        Self::from_bits(position as u32)
    }

    fn dispatch<T: Task<f32>>(isa: Isa, task: T) {
        dispatch_to(isa, SingleKernel(task));
    }
}

/// Implements [`Lanes`] with the `f32` vectors of the instruction set `S`. With `PAIRS`, [`fma`](Lanes::fma) multiplies
/// lanes that hold pairs of bf16, and adds the products to lanes that hold floats.
#[derive(Clone, Copy)]
pub(crate) struct Floats<S, const PAIRS: bool = false>(S);

impl<S> Floats<S> {
    #[inline(always)]
    pub fn new(simd: S) -> Self {
        Self(simd)
    }
}

impl<S, const PAIRS: bool> Floats<S, PAIRS> {
    /// # Safety
    /// With `PAIRS`, the caller must be a kernel that `dispatch_pairs` runs.
    #[inline(always)]
    pub unsafe fn new_unchecked(simd: S) -> Self {
        Self(simd)
    }
}

// SAFETY of every block below: the caller guarantees the bounds that the method of `Simd` requires.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the comment above applies to all of them")]
impl<S: Simd, const PAIRS: bool> Lanes for Floats<S, PAIRS> {
    type Real = f32;
    type V = S::V;
    const LANES: usize = S::LANES;
    const REGISTERS: usize = S::REGISTERS;

    #[inline(always)]
    fn splat(self, x: f32) -> S::V {
        self.0.splat(x)
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> S::V {
        unsafe { self.0.load(from) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> S::V {
        unsafe { self.0.load_partial(from, n) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: S::V) {
        unsafe { self.0.store(to, v) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: S::V) {
        unsafe { self.0.store_partial(to, n, v) }
    }
    #[inline(always)]
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> S::V {
        unsafe { self.0.load_half(half, from, n) }
    }
    #[inline(always)]
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: S::V) {
        unsafe { self.0.store_half(half, to, n, v) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe { transpose(self.0, from, from_stride, to, to_stride) }
    }
    #[inline(always)]
    fn permute(self, a_and_b: [S::V; 2], positions: S::V) -> S::V {
        self.0.permute(a_and_b, positions)
    }
    #[inline(always)]
    fn max_nan(self, a: S::V, b: S::V) -> S::V {
        self.0.max_nan(a, b)
    }
    #[inline(always)]
    fn select_less(self, a: S::V, b: S::V, then: S::V, otherwise: S::V) -> S::V {
        self.0.select_less(a, b, then, otherwise)
    }
    #[inline(always)]
    fn add(self, a: S::V, b: S::V) -> S::V {
        self.0.add(a, b)
    }
    #[inline(always)]
    fn mul(self, a: S::V, b: S::V) -> S::V {
        self.0.mul(a, b)
    }
    #[inline(always)]
    fn div(self, a: S::V, b: S::V) -> S::V {
        self.0.div(a, b)
    }
    #[inline(always)]
    fn fma(self, a: S::V, b: S::V, c: S::V) -> S::V {
        // SAFETY: with `PAIRS`, the caller of `new_unchecked` guarantees that `dispatch_pairs` has run the kernel.
        if PAIRS { unsafe { self.0.dot_pairs(a, b, c) } } else { self.0.fma(a, b, c) }
    }
    #[inline(always)]
    fn sum(self, v: S::V) -> f32 {
        self.0.sum(v)
    }
}

/// Adapts [`Task`] on `f64`s to [`Kernel`].
struct DoubleKernel<T>(T);

impl<T: Task<f64>> Kernel for DoubleKernel<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.run(Doubles);
    }
}

impl Real for f64 {
    fn lanes(_: Isa) -> usize {
        Doubles::LANES
    }

    fn from_position(position: usize) -> Self {
        Self::from_bits(position as u64)
    }

    fn dispatch<T: Task<f64>>(isa: Isa, task: T) {
        dispatch_loops_to(isa, DoubleKernel(task));
    }
}

/// Implements [`Lanes`] with arrays of four `f64`s, in plain Rust.
#[derive(Clone, Copy)]
struct Doubles;

impl Lanes for Doubles {
    type Real = f64;
    type V = [f64; 4];
    const LANES: usize = 4;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn splat(self, x: f64) -> [f64; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f64) -> [f64; 4] {
        // SAFETY: the caller guarantees four numbers; an array of numbers has the alignment of a number.
        unsafe { from.cast::<[f64; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f64, n: usize) -> [f64; 4] {
        // SAFETY: `i < n`, and the caller guarantees `n` numbers.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0. })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64, v: [f64; 4]) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f64; 4]>().write(v) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f64, n: usize, v: [f64; 4]) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: `i < n`, and the caller guarantees `n` numbers.
            unsafe { to.add(i).write(x) }
        }
    }
    unsafe fn load_half(self, _: Half, _: *const u16, _: usize) -> [f64; 4] {
        unreachable!("kernels convert f16 and bf16 to f32")
    }
    unsafe fn store_half(self, _: Half, _: *mut u16, _: usize, _: [f64; 4]) {
        unreachable!("kernels convert f16 and bf16 to f32")
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            // SAFETY: the caller guarantees four rows of four numbers at both pointers.
            unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) }
        }
    }
    #[inline(always)]
    fn permute(self, [a, b]: [[f64; 4]; 2], positions: [f64; 4]) -> [f64; 4] {
        let elements = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]];
        std::array::from_fn(|i| elements[positions[i].to_bits() as usize % 8])
    }
    #[inline(always)]
    fn max_nan(self, a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| if b[i] > a[i] || b[i].is_nan() { b[i] } else { a[i] })
    }
    #[inline(always)]
    fn select_less(self, a: [f64; 4], b: [f64; 4], then: [f64; 4], otherwise: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| if a[i] < b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    fn add(self, a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: [f64; 4], b: [f64; 4], c: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn sum(self, v: [f64; 4]) -> f64 {
        (v[0] + v[2]) + (v[1] + v[3])
    }
}
