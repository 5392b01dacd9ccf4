//! One vector of `f32`s, under the name of each instruction set, and the choice between them.
//!
//! A kernel is written once, generic over [`Simd`], as a type that implements [`Kernel`];
//! [`dispatch_to`] runs it with one of the machine's instruction sets, as a rule [`isa`], the widest.
//! Every method of every token is `#[inline(always)]`, so that the whole kernel is compiled inside the
//! one function of this file that carries the `target_feature` attribute. What is not compiled there calls
//! a function for every instruction: no token's methods in closures that go to `map` or `from_fn`.

use std::sync::OnceLock;

/// An instruction set a kernel can run on, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, eight lanes that the compiler vectorises as it can.
    Portable,
    Neon,
    Avx2,
    Avx512,
}

/// The instruction sets of this machine, the portable one first, the one in use by default last.
pub fn available() -> Vec<Isa> {
    let all = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];
    all.into_iter().filter(|isa| isa.is_available()).collect()
}

impl Isa {
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                let features = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
                features && Self::Avx2.is_available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// The instruction set in use: the widest of the machine that `SCONCE_ISA`
/// (`portable`, `neon`, `avx2` or `avx512`, read once) does not rule out.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let limit = match std::env::var("SCONCE_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            Ok("neon") => Isa::Neon,
            Ok("avx2") => Isa::Avx2,
            _ => Isa::Avx512,
        };
        available().into_iter().filter(|isa| *isa <= limit).max().unwrap_or(Isa::Portable)
    })
}

/// Work that is written once for every instruction set.
pub trait Kernel {
    type Output;
    /// Must be `#[inline(always)]`, as must be everything it calls in its inner loops.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with `isa`, or with the portable path where the machine lacks it.
pub fn dispatch_to<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        // SAFETY (all three): the features have been found on this machine.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => unsafe { run_avx2(kernel) },
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { run_neon(kernel) },
        _ => kernel.run(Portable),
    }
}

/// Runs a kernel of plain loops, which the compiler makes vectors of: with AVX2 where the machine has it.
/// AVX-512 would give such loops nothing and take as long again to compile.
pub(super) fn dispatch_loops<K: Kernel>(kernel: K) -> K::Output {
    dispatch_loops_to(isa(), kernel)
}

/// As [`dispatch_loops`], in an instruction set no wider than `limit`.
pub(super) fn dispatch_loops_to<K: Kernel>(limit: Isa, kernel: K) -> K::Output {
    match limit {
        // SAFETY: `available` has found the features on this machine.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 if available().contains(&Isa::Avx2) => unsafe { run_avx2(kernel) },
        _ => kernel.run(Portable),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn run_neon<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

/// A token that proves an instruction set is there, with its vector of `f32`s.
///
/// # Safety
/// Pointer methods read or write `LANES` consecutive floats (`n ≤ LANES` in the `_partial` ones) that
/// the caller guarantees to be in bounds; no alignment is needed. Lanes beyond `n` load as zero.
#[allow(clippy::missing_safety_doc, reason = "stated once, above")]
pub trait Simd: Copy + Send + Sync + 'static {
    type V: Copy;
    /// Some neighbouring lanes of a vector.
    type Mask: Copy;
    const LANES: usize;
    /// Vector registers, of which a kernel's inner loop may use this many.
    const REGISTERS: usize;

    fn splat(self, x: f32) -> Self::V;
    unsafe fn load(self, from: *const f32) -> Self::V;
    unsafe fn store(self, to: *mut f32, v: Self::V);
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V;
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V);
    /// The lanes from `first` up to `end`, which is not beyond the last.
    fn mask(self, first: usize, end: usize) -> Self::Mask;
    /// The floats at the lanes of the mask, zero in all others; only the former need be in bounds.
    unsafe fn load_masked(self, from: *const f32, mask: Self::Mask) -> Self::V;
    /// The even and the odd elements of `a` followed by `b`.
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of a bound and a value; NaN where `value` is NaN.
    fn max(self, bound: Self::V, value: Self::V) -> Self::V;
    /// The smaller of a bound and a value; NaN where `value` is NaN.
    fn min(self, bound: Self::V, value: Self::V) -> Self::V;
    /// The sum of all lanes, in a fixed order.
    fn sum(self, v: Self::V) -> f32;

    /// The lanes of a vector from element `first` of a row of `len` on, maybe before its start, that lie in
    /// the row.
    #[inline(always)]
    fn inside(self, first: isize, len: usize) -> Self::Mask {
        let lane = |element: usize| (element as isize - first).clamp(0, Self::LANES as isize) as usize;
        self.mask(lane(0), lane(len))
    }

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.)
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    type Mask = [usize; 2];
    const LANES: usize = 8;
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller guarantees eight floats; an array of floats needs no more alignment.
        unsafe { from.cast::<[f32; 8]>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; 8]>().write(v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller guarantees `n ≤ 8` floats.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0. })
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
        // SAFETY: the caller guarantees the floats of these lanes.
        std::array::from_fn(|i| if inside(i) { unsafe { *from.wrapping_add(i) } } else { 0. })
    }
    #[inline(always)]
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let all = |i: usize| if i < 8 { a[i] } else { b[i - 8] };
        [std::array::from_fn(|i| all(2 * i)), std::array::from_fn(|i| all(2 * i + 1))]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `mul_add`: without the instruction it is a library call a lane.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] > value[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] < value[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX2 and FMA. Only [`dispatch_to`](super::dispatch_to) makes one.
    #[derive(Clone, Copy)]
    pub struct Avx2(pub(super) ());

    /// The first `n` of eight lanes.
    #[inline(always)]
    fn mask8(n: usize) -> __m256i {
        // SAFETY: an `Avx2` token is at hand wherever this is called.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
        }
    }

    // SAFETY of every block below: the token exists only where the features do, and pointers are the
    // caller's promise. `max` and `min` return their second operand where either is NaN.
    impl Simd for Avx2 {
        type V = __m256;
        type Mask = __m256i;
        const LANES: usize = 8;
        const REGISTERS: usize = 16;

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
        fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
            // Pairs of each half of `a` and `b` in turn, then the pairs in order.
            let order =
                |v| unsafe { _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v))) };
            let [even, odd] = unsafe { [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b)] };
            [order(even), order(odd)]
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
        fn sum(self, v: Self::V) -> f32 {
            unsafe {
                let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
                _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
            }
        }
    }

    /// AVX-512 F and DQ. Only [`dispatch_to`](super::dispatch_to) makes one.
    #[derive(Clone, Copy)]
    pub struct Avx512(pub(super) ());

    /// The first `n` of sixteen lanes.
    #[inline(always)]
    fn mask16(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    // SAFETY of every block below: as for `Avx2`.
    impl Simd for Avx512 {
        type V = __m512;
        type Mask = __mmask16;
        const LANES: usize = 16;
        const REGISTERS: usize = 32;

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
        fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
            unsafe {
                let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
                [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
            }
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
        fn sum(self, v: Self::V) -> f32 {
            unsafe { _mm512_reduce_add_ps(v) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64::*;

    /// NEON. Only [`dispatch_to`](super::dispatch_to) makes one.
    #[derive(Clone, Copy)]
    pub struct Neon(pub(super) ());

    // SAFETY of every block below: NEON is part of aarch64, and pointers are the caller's promise.
    // `fmax` and `fmin` return NaN where either operand is NaN.
    impl Simd for Neon {
        type V = float32x4_t;
        type Mask = [usize; 2];
        const LANES: usize = 4;
        const REGISTERS: usize = 32;

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
        fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
            unsafe { [vuzp1q_f32(a, b), vuzp2q_f32(a, b)] }
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
        fn sum(self, v: Self::V) -> f32 {
            unsafe { vaddvq_f32(v) }
        }
    }
}
