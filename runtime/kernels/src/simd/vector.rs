//! Vectors that implement [`Number`], for formulas that are generic over numbers and vectors.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::number::{Number, single_precision_functions};

use super::Simd;
use super::math::SinglePrecision;

/// `N` vectors, with the token of their instruction set. An operation applies to each lane of each vector.
///
/// With a single vector, most execution units are idle, because each instruction of a formula waits for the result of
/// the previous one. The instructions for several vectors are independent and overlap. [`run_vector_loop`] chooses `N`.
#[derive(Clone, Copy)]
pub struct Vectors<S: Simd, const N: usize = 1> {
    simd: S,
    pub vectors: [S::V; N],
}

impl<S: Simd, const N: usize> Vectors<S, N> {
    #[inline(always)]
    pub fn new(simd: S, vectors: [S::V; N]) -> Self {
        Self { simd, vectors }
    }

    #[inline(always)]
    pub fn splat(simd: S, x: f32) -> Self {
        Self { simd, vectors: [simd.splat(x); N] }
    }

    /// Loads `N` consecutive vectors.
    ///
    /// # Safety
    /// `from` must have `N · LANES` floats.
    #[inline(always)]
    pub unsafe fn load(simd: S, from: *const f32) -> Self {
        let mut vectors = [simd.zero(); N];
        for (i, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller.
            *vector = unsafe { simd.load(from.add(i * S::LANES)) };
        }
        Self { simd, vectors }
    }

    /// Stores the vectors one after another.
    ///
    /// # Safety
    /// `to` must have room for `N · LANES` floats.
    #[inline(always)]
    pub unsafe fn store(self, to: *mut f32) {
        for (i, vector) in self.vectors.iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { self.simd.store(to.add(i * S::LANES), *vector) }
        }
    }
}

impl<S: Simd> Vectors<S> {
    /// Loads `n` floats. The lanes `n..LANES` are zero.
    ///
    /// # Safety
    /// `from` must have `n ≤ LANES` floats.
    #[inline(always)]
    pub unsafe fn load_partial(simd: S, from: *const f32, n: usize) -> Self {
        // SAFETY: guaranteed by the caller.
        Self { simd, vectors: [unsafe { simd.load_partial(from, n) }] }
    }

    /// Stores the first `n` lanes.
    ///
    /// # Safety
    /// `to` must have room for `n ≤ LANES` floats.
    #[inline(always)]
    pub unsafe fn store_partial(self, to: *mut f32, n: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.simd.store_partial(to, n, self.vectors[0]) }
    }
}

/// The body of a loop over the vectors of a slice, and the code for the elements after the last vector.
pub(crate) trait VectorLoop<S: Simd> {
    /// Processes the `N` vectors from the element `at` on. Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// `at + N · LANES` must be at most the length of the slice.
    unsafe fn body<const N: usize>(&mut self, at: usize);

    /// Processes the last `n < LANES` elements, which begin at `at`. Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// `at + n` must be the length of the slice.
    unsafe fn remainder(&mut self, at: usize, n: usize);
}

/// Runs a loop over the `len` elements of a slice. An iteration processes 1, 2 or 4 vectors: the more registers there
/// are, the more vectors fit in them besides the temporary values of a formula. The last iterations process single
/// vectors.
#[inline(always)]
pub(crate) fn run_vector_loop<S: Simd>(_: S, len: usize, mut vector_loop: impl VectorLoop<S>) {
    let mut at = 0;
    macro_rules! iterations {
        ($count:literal) => {
            while at + $count * S::LANES <= len {
                // SAFETY: the condition of the loop guarantees that the slice has these vectors.
                unsafe { vector_loop.body::<$count>(at) };
                at += $count * S::LANES;
            }
        };
    }
    if const { S::REGISTERS >= 32 } {
        iterations!(4);
    } else if const { S::REGISTERS >= 16 } {
        iterations!(2);
    }
    iterations!(1);
    if at < len {
        // SAFETY: fewer than `LANES` elements remain.
        unsafe { vector_loop.remainder(at, len - at) };
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident)*) => {$(
        impl<S: Simd, const N: usize> $operator for Vectors<S, N> {
            type Output = Self;

            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for (v, other) in self.vectors.iter_mut().zip(&other.vectors) {
                    *v = self.simd.$method(*v, *other);
                }
                self
            }
        }
    )*};
}

operators! { Add add Sub sub Mul mul Div div }

impl<S: Simd, const N: usize> Neg for Vectors<S, N> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        self * Number::splat(self, -1.)
    }
}

impl<S: Simd, const N: usize> Number for Vectors<S, N> {
    #[inline(always)]
    fn splat(self, x: f64) -> Self {
        Self::splat(self.simd, x as f32)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.copysign(Number::splat(self, 0.))
    }
    #[inline(always)]
    fn at_least(mut self, bound: Self) -> Self {
        for (v, bound) in self.vectors.iter_mut().zip(&bound.vectors) {
            *v = self.simd.max(*bound, *v);
        }
        self
    }
    #[inline(always)]
    fn at_most(mut self, bound: Self) -> Self {
        for (v, bound) in self.vectors.iter_mut().zip(&bound.vectors) {
            *v = self.simd.min(*bound, *v);
        }
        self
    }
    #[inline(always)]
    fn where_less(mut self, bound: Self, then: Self, otherwise: Self) -> Self {
        for (i, v) in self.vectors.iter_mut().enumerate() {
            *v = self.simd.select_less(*v, bound.vectors[i], then.vectors[i], otherwise.vectors[i]);
        }
        self
    }
    #[inline(always)]
    fn where_at_most(mut self, bound: Self, then: Self, otherwise: Self) -> Self {
        for (i, v) in self.vectors.iter_mut().enumerate() {
            *v = self.simd.select_at_most(*v, bound.vectors[i], then.vectors[i], otherwise.vectors[i]);
        }
        self
    }
    single_precision_functions!();
}

impl<S: Simd, const N: usize> SinglePrecision for Vectors<S, N> {
    const FUSED: bool = S::FUSED;

    #[inline(always)]
    fn mul_add(mut self, factor: Self, summand: Self) -> Self {
        for (i, v) in self.vectors.iter_mut().enumerate() {
            *v = self.simd.fma(*v, factor.vectors[i], summand.vectors[i]);
        }
        self
    }
    #[inline(always)]
    fn round(mut self) -> Self {
        for v in &mut self.vectors {
            *v = self.simd.round(*v);
        }
        self
    }
    #[inline(always)]
    fn ldexp(mut self, exponent: Self) -> Self {
        for (v, exponent) in self.vectors.iter_mut().zip(&exponent.vectors) {
            *v = self.simd.ldexp(*v, *exponent);
        }
        self
    }
    #[inline(always)]
    fn copysign(mut self, sign: Self) -> Self {
        for (v, sign) in self.vectors.iter_mut().zip(&sign.vectors) {
            *v = self.simd.copysign(*v, *sign);
        }
        self
    }
}
