//! AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::{Compile, Half, Kernel, Simd};

/// Proves that the machine has AVX2, FMA and F16C. Only the dispatch functions of [`super`] create a value, after they
/// have detected the features.
#[derive(Clone, Copy)]
pub struct Avx2(pub(super) ());

/// Returns a mask that selects the first `n` of eight lanes.
#[inline(always)]
fn mask8(n: usize) -> __m256i {
    // SAFETY: all callers hold an `Avx2`, so the machine has AVX2.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
    }
}

// The maximum and minimum instructions return their second operand if either operand is NaN.
//
// SAFETY of every block below: an `Avx2` exists only on machines with these features, and the caller guarantees that
// the pointers are in bounds.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the comment above applies to all of them")]
impl Simd for Avx2 {
    type V = __m256;
    type Mask = __m256i;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const FUSED: bool = true;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        unsafe { kernel.run_avx2() }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        unsafe { _mm256_maskload_ps(from, mask8(n)) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V) {
        unsafe { _mm256_maskstore_ps(to, mask8(n), v) }
    }
    #[inline(always)]
    fn mask(self, first: usize, end: usize) -> Self::Mask {
        unsafe { _mm256_andnot_si256(mask8(first), mask8(end)) }
    }
    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: Self::Mask) -> Self::V {
        unsafe { _mm256_maskload_ps(from, mask) }
    }
    #[inline(always)]
    fn keep_lanes(self, v: Self::V, mask: Self::Mask) -> Self::V {
        unsafe { _mm256_and_ps(v, _mm256_castsi256_ps(mask)) }
    }
    #[inline(always)]
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        // In each 128-bit half, the shuffle puts a pair of lanes of `a` before a pair of `b`. The permutation then puts
        // both pairs of `a` before both pairs of `b`.
        let order =
            |v| unsafe { _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v))) };
        let [even, odd] = unsafe { [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b)] };
        [order(even), order(odd)]
    }
    #[inline(always)]
    fn permute(self, [a, b]: [Self::V; 2], positions: Self::V) -> Self::V {
        unsafe {
            let positions = _mm256_castps_si256(positions);
            // Each permutation uses the lower three bits of a position. The fourth bit selects `b`.
            let [a, b] = [_mm256_permutevar8x32_ps(a, positions), _mm256_permutevar8x32_ps(b, positions)];
            _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(positions)))
        }
    }
    #[inline(always)]
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe {
            // Interleaves within the 128-bit halves, then puts the halves in order.
            let low = _mm256_unpacklo_ps(a, b);
            let high = _mm256_unpackhi_ps(a, b);
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        }
    }
    #[inline(always)]
    fn select_equal(self, [a, b]: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V {
        unsafe { _mm256_blendv_ps(other, same, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) }
    }
    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn select_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        unsafe {
            let bit = _mm256_set1_ps(-0.);
            _mm256_or_ps(_mm256_and_ps(bit, sign), _mm256_andnot_ps(bit, magnitude))
        }
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V {
        unsafe {
            // Splits the power of two into two factors, each of which is a normal number.
            let exponent = _mm256_cvtps_epi32(exponent);
            let first = _mm256_srai_epi32::<1>(exponent);
            let power_of_two =
                |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
            let factors = [power_of_two(first), power_of_two(_mm256_sub_epi32(exponent, first))];
            _mm256_mul_ps(_mm256_mul_ps(v, factors[0]), factors[1])
        }
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { _mm256_max_ps(bound, value) }
    }
    #[inline(always)]
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { _mm256_min_ps(bound, value) }
    }
    #[inline(always)]
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V {
        // In lanes in which `b` is NaN, the instruction returns `a`. The blend replaces these lanes with `b`.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(b, a), b, _mm256_cmp_ps::<_CMP_UNORD_Q>(b, b)) }
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        unsafe {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
    }
    #[inline(always)]
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> Self::V {
        unsafe {
            let halves = if n == 8 {
                _mm_loadu_si128(from.cast())
            } else {
                let mut lanes = [0u16; 8];
                std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
                _mm_loadu_si128(lanes.as_ptr().cast())
            };
            match half {
                Half::F16 => _mm256_cvtph_ps(halves),
                Half::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))),
            }
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: Self::V) {
        unsafe {
            let halves = match half {
                Half::F16 => _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v),
                Half::Bf16 => {
                    let bits = _mm256_castps_si256(v);
                    let upper = _mm256_srli_epi32::<16>(bits);
                    // Rounds to the nearest number, ties to even: adds 0x7fff, which is 1 less than half of the lowest
                    // kept bit's value, and 1 more if that bit is set.
                    let lowest_kept_bit = _mm256_and_si256(upper, _mm256_set1_epi32(1));
                    let increment = _mm256_add_epi32(lowest_kept_bit, _mm256_set1_epi32(0x7fff));
                    let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, increment));
                    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
                    let quiet_nan = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
                    let words = _mm256_blendv_epi8(rounded, quiet_nan, nan);
                    _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
                }
            };
            if n == 8 {
                return _mm_storeu_si128(to.cast(), halves);
            }
            let mut lanes = [0u16; 8];
            _mm_storeu_si128(lanes.as_mut_ptr().cast(), halves);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }
}

/// Proves that the machine has AVX-512 F, DQ, BW and VL. Only the dispatch functions of [`super`] create a value, after
/// they have detected the features.
#[derive(Clone, Copy)]
pub struct Avx512(pub(super) ());

/// Returns a mask that selects the first `n` of sixteen lanes.
#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of every block below: as for `Avx2`.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the comment above applies to all of them")]
impl Simd for Avx512 {
    type V = __m512;
    type Mask = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const FUSED: bool = true;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        unsafe { kernel.run_avx512() }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        unsafe { _mm512_maskz_loadu_ps(mask16(n), from) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V) {
        unsafe { _mm512_mask_storeu_ps(to, mask16(n), v) }
    }
    #[inline(always)]
    fn mask(self, first: usize, end: usize) -> Self::Mask {
        mask16(end) & !mask16(first)
    }
    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: Self::Mask) -> Self::V {
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    fn fma_masked(self, a: Self::V, b: Self::V, c: Self::V, mask: Self::Mask) -> Self::V {
        unsafe { _mm512_mask3_fmadd_ps(a, b, c, mask) }
    }
    #[inline(always)]
    fn keep_lanes(self, v: Self::V, mask: Self::Mask) -> Self::V {
        unsafe { _mm512_maskz_mov_ps(mask, v) }
    }
    #[inline(always)]
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }
    #[inline(always)]
    fn permute(self, [a, b]: [Self::V; 2], positions: Self::V) -> Self::V {
        unsafe { _mm512_permutex2var_ps(a, _mm512_castps_si512(positions), b) }
    }
    #[inline(always)]
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        }
    }
    #[inline(always)]
    fn select_equal(self, [a, b]: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), other, same) }
    }
    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then) }
    }
    #[inline(always)]
    fn select_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b), otherwise, then) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        unsafe {
            let bit = _mm512_set1_ps(-0.);
            _mm512_or_ps(_mm512_and_ps(bit, sign), _mm512_andnot_ps(bit, magnitude))
        }
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V {
        unsafe { _mm512_scalef_ps(v, exponent) }
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { _mm512_max_ps(bound, value) }
    }
    #[inline(always)]
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        unsafe { _mm512_min_ps(bound, value) }
    }
    #[inline(always)]
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V {
        // In lanes in which `b` is NaN, the instruction returns `a`. The move replaces these lanes with `b`.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(b, a), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(b, b), b) }
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }
    #[inline(always)]
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> Self::V {
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(mask16(n), from.cast());
            match half {
                Half::F16 => _mm512_cvtph_ps(halves),
                Half::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))),
            }
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: Self::V) {
        unsafe {
            let halves = match half {
                Half::F16 => _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v),
                Half::Bf16 => {
                    // As for `Avx2`. The conversion instruction would flush denormal numbers to zero.
                    let bits = _mm512_castps_si512(v);
                    let upper = _mm512_srli_epi32::<16>(bits);
                    let lowest_kept_bit = _mm512_and_si512(upper, _mm512_set1_epi32(1));
                    let increment = _mm512_add_epi32(lowest_kept_bit, _mm512_set1_epi32(0x7fff));
                    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, increment));
                    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                    let words = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
                    _mm512_cvtepi32_epi16(words)
                }
            };
            _mm256_mask_storeu_epi16(to.cast(), mask16(n), halves);
        }
    }
    #[inline(always)]
    fn pair(self, even: Self::V, odd: Self::V) -> Self::V {
        unsafe {
            let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(even));
            // The mask selects the upper half of each lane from `odd`.
            _mm512_castsi512_ps(_mm512_mask_blend_epi16(0xaaaa_aaaa, low, _mm512_castps_si512(odd)))
        }
    }
    #[inline(always)]
    unsafe fn dot_pairs(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe {
            _mm512_dpbf16_ps(
                c,
                std::mem::transmute::<__m512, __m512bh>(a),
                std::mem::transmute::<__m512, __m512bh>(b),
            )
        }
    }
}
