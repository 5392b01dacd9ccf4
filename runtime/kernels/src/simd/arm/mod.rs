//! NEON.
//!
//! On other machines, debug builds for tests compile this module with intrinsics in plain Rust (`emulated`).

#[cfg(not(target_arch = "aarch64"))]
mod emulated;

use super::{Compile, Kernel, Simd};
#[cfg(not(target_arch = "aarch64"))]
use emulated::*;
#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;

/// Proves that NEON, or its emulation in tests, is available. Only the dispatch functions of [`super`] create a value.
#[derive(Clone, Copy)]
pub struct Neon(pub(super) ());

#[cfg(not(target_arch = "aarch64"))]
impl Neon {
    pub(super) fn emulated() -> Self {
        Self(())
    }
}

// NEON's maximum and minimum return NaN if either operand is NaN, so `max` and `max_nan` are the same instruction.
//
// SAFETY of every block below: NEON is part of aarch64, and the caller guarantees that the pointers are in bounds.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the comment above applies to all of them")]
impl Simd for Neon {
    type V = float32x4_t;
    type Mask = [usize; 2];
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    const FUSED: bool = true;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "aarch64")]
        return unsafe { kernel.run_neon() };
        #[cfg(not(target_arch = "aarch64"))]
        return kernel.run_plain(self);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        let lanes: [f32; 4] = std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0. });
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V) {
        let mut lanes = [0.; 4];
        unsafe { vst1q_f32(lanes.as_mut_ptr(), v) };
        for (i, x) in lanes.into_iter().take(n).enumerate() {
            unsafe { *to.add(i) = x }
        }
    }
    #[inline(always)]
    fn mask(self, first: usize, end: usize) -> Self::Mask {
        [first, end]
    }
    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, [first, end]: Self::Mask) -> Self::V {
        if end - first == 4 {
            return unsafe { vld1q_f32(from) };
        }
        let mut lanes = [0.; 4];
        for (i, x) in lanes.iter_mut().enumerate().take(end).skip(first) {
            *x = unsafe { *from.wrapping_add(i) };
        }
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    fn keep_lanes(self, v: Self::V, [first, end]: Self::Mask) -> Self::V {
        let mut lanes = [0.; 4];
        unsafe { vst1q_f32(lanes.as_mut_ptr(), v) };
        lanes[..first].fill(0.);
        lanes[end..].fill(0.);
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe { [vuzp1q_f32(a, b), vuzp2q_f32(a, b)] }
    }
    #[inline(always)]
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe { [vzip1q_f32(a, b), vzip2q_f32(a, b)] }
    }
    #[inline(always)]
    fn select_equal(self, [a, b]: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V {
        unsafe { vbslq_f32(vceqq_f32(a, b), same, other) }
    }
    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { vbslq_f32(vcltq_f32(a, b), then, otherwise) }
    }
    #[inline(always)]
    fn select_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { vbslq_f32(vcleq_f32(a, b), then, otherwise) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), sign, magnitude) }
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        unsafe { vrndnq_f32(v) }
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V {
        unsafe {
            // Splits the power of two into two factors, each of which is a normal number.
            let exponent = vcvtq_s32_f32(exponent);
            let first = vshrq_n_s32::<1>(exponent);
            let power_of_two = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
            let factors = [power_of_two(first), power_of_two(vsubq_s32(exponent, first))];
            vmulq_f32(vmulq_f32(v, factors[0]), factors[1])
        }
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { vmaxq_f32(bound, value) }
    }
    #[inline(always)]
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { vminq_f32(bound, value) }
    }
    #[inline(always)]
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        unsafe { vaddvq_f32(v) }
    }
}
