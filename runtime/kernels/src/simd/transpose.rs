//! Transposition of a square block of `LANES × LANES` floats.
//!
//! [`Simd`] lacks the shuffles of this operation, so each instruction set has a separate implementation. The type of
//! the [`Simd`] token selects the implementation at compile time.

#[cfg(target_arch = "aarch64")]
use super::Neon;
use super::Simd;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
#[allow(unused_imports)]
use std::any::TypeId;

/// Writes row `i` of the block at `from` as column `i` of the block at `to`.
///
/// # Safety
/// In both blocks, `LANES` rows of `LANES` floats must be in bounds. The strides are the distances between rows, in
/// floats. The blocks must be disjoint.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(
    _simd: S,
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if TypeId::of::<S>() == TypeId::of::<Avx2>() {
        // SAFETY: the caller guarantees the bounds, and the token proves that the machine has AVX2.
        return unsafe { eight_by_eight(from, from_stride, to, to_stride) };
    }
    #[cfg(target_arch = "x86_64")]
    if TypeId::of::<S>() == TypeId::of::<Avx512>() {
        for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            // SAFETY: as above, for an 8 × 8 quarter of the block; AVX-512 includes AVX2.
            unsafe {
                eight_by_eight(
                    from.add(i * from_stride + j),
                    from_stride,
                    to.add(j * to_stride + i),
                    to_stride,
                )
            }
        }
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if TypeId::of::<S>() == TypeId::of::<Neon>() {
        // SAFETY: the caller guarantees the bounds, and every aarch64 machine has NEON.
        return unsafe { four_by_four(from, from_stride, to, to_stride) };
    }
    for i in 0..S::LANES {
        for j in 0..S::LANES {
            // SAFETY: the caller guarantees the bounds.
            unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) }
        }
    }
}

/// # Safety
/// The requirements of [`transpose`] for eight lanes. In addition, the machine must have AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn eight_by_eight(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller guarantees the bounds; each half of a row is four of the row's eight floats.
    unsafe {
        // Rows i and i + 4 share a register, so that the shuffles below stay within 128-bit halves.
        let mut halves = [[_mm256_setzero_ps(); 4]; 2];
        for (j, half) in halves.iter_mut().enumerate() {
            for (i, rows) in half.iter_mut().enumerate() {
                let low = _mm_loadu_ps(from.add(i * from_stride + 4 * j));
                let high = _mm_loadu_ps(from.add((i + 4) * from_stride + 4 * j));
                *rows = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high);
            }
        }
        for (j, [a, b, c, d]) in halves.into_iter().enumerate() {
            let ab_low = _mm256_unpacklo_ps(a, b);
            let ab_high = _mm256_unpackhi_ps(a, b);
            let cd_low = _mm256_unpacklo_ps(c, d);
            let cd_high = _mm256_unpackhi_ps(c, d);
            let to = to.add(4 * j * to_stride);
            _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(ab_low, cd_low));
            _mm256_storeu_ps(to.add(to_stride), _mm256_shuffle_ps::<0xee>(ab_low, cd_low));
            _mm256_storeu_ps(to.add(2 * to_stride), _mm256_shuffle_ps::<0x44>(ab_high, cd_high));
            _mm256_storeu_ps(to.add(3 * to_stride), _mm256_shuffle_ps::<0xee>(ab_high, cd_high));
        }
    }
}

/// # Safety
/// The requirements of [`transpose`] for four lanes.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn four_by_four(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    use std::arch::aarch64::*;
    // SAFETY: the caller guarantees the bounds.
    unsafe {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| vld1q_f32(from.add(i * from_stride)));
        let pair = |x, y| (vreinterpretq_f64_f32(vtrn1q_f32(x, y)), vreinterpretq_f64_f32(vtrn2q_f32(x, y)));
        let ((ab_even, ab_odd), (cd_even, cd_odd)) = (pair(a, b), pair(c, d));
        vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even)));
        vst1q_f32(to.add(to_stride), vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd)));
        vst1q_f32(to.add(2 * to_stride), vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even)));
        vst1q_f32(to.add(3 * to_stride), vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd)));
    }
}
