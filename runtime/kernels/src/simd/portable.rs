//! Portable vectors: arrays of `f32`s, which the compiler may vectorize.

use super::math::SinglePrecision;
use super::{Compile, Kernel, Simd};

/// The number of lanes.
const N: usize = 8;

/// Implements [`Simd`] with vectors of eight lanes in plain Rust, on every machine.
#[derive(Clone, Copy)]
pub struct Portable;

/// Returns the vector with the lanes `lane(0)`, `lane(1)` and so on.
// In debug builds, this function is not inlined, so that kernels compile faster.
#[cfg_attr(debug_assertions, inline(never))]
#[cfg_attr(not(debug_assertions), inline(always))]
fn lanes(lane: impl Fn(usize) -> f32) -> [f32; N] {
    std::array::from_fn(lane)
}

impl Simd for Portable {
    type V = [f32; N];
    type Mask = [usize; 2];
    const LANES: usize = N;
    const REGISTERS: usize = 8;
    const FUSED: bool = false;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run_plain(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller guarantees `N` floats; an array of floats has the alignment of a float.
        unsafe { from.cast::<[f32; N]>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; N]>().write(v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller guarantees `n ≤ N` floats.
        lanes(|i| if i < n { unsafe { *from.add(i) } } else { 0. })
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V) {
        for (i, x) in v.into_iter().take(n).enumerate() {
            // SAFETY: `i < n`, and the caller guarantees `n` floats.
            unsafe { *to.add(i) = x }
        }
    }
    #[inline(always)]
    fn mask(self, first: usize, end: usize) -> Self::Mask {
        [first, end]
    }
    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, [first, end]: Self::Mask) -> Self::V {
        let inside = |i: usize| first <= i && i < end;
        // SAFETY: the caller guarantees that the floats of the masked lanes are in bounds.
        lanes(|i| if inside(i) { unsafe { *from.wrapping_add(i) } } else { 0. })
    }
    #[inline(always)]
    fn keep_lanes(self, v: Self::V, [first, end]: Self::Mask) -> Self::V {
        lanes(|i| if first <= i && i < end { v[i] } else { 0. })
    }
    #[inline(always)]
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let all = |i: usize| if i < N { a[i] } else { b[i - N] };
        [lanes(|i| all(2 * i)), lanes(|i| all(2 * i + 1))]
    }
    #[inline(always)]
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let interleaved = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        [lanes(interleaved), lanes(|i| interleaved(i + N))]
    }
    #[inline(always)]
    fn select_equal(self, [a, b]: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V {
        lanes(|i| if a[i] == b[i] { same[i] } else { other[i] })
    }
    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        lanes(|i| if a[i] < b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    fn select_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        lanes(|i| if a[i] <= b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        lanes(|i| magnitude[i].copysign(sign[i]))
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        lanes(|i| SinglePrecision::round(v[i]))
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V {
        lanes(|i| SinglePrecision::ldexp(v[i], exponent[i]))
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `mul_add`, which is a library call for each lane if there is no FMA instruction.
        lanes(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        lanes(|i| if bound[i] > value[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        lanes(|i| if bound[i] < value[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V {
        lanes(|i| if b[i] > a[i] || b[i].is_nan() { b[i] } else { a[i] })
    }
    #[inline(always)]
    fn sum(self, mut v: Self::V) -> f32 {
        let mut lanes = N;
        while lanes > 1 {
            lanes /= 2;
            for i in 0..lanes {
                v[i] += v[i + lanes];
            }
        }
        v[0]
    }
}
