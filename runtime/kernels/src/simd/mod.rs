//! Vectors of `f32`s for each instruction set, and the choice of the instruction set at run time.
//!
//! A kernel is written once, generic over [`Simd`], as a type that implements [`Kernel`]. [`dispatch_to`] runs it with
//! one of the machine's instruction sets, usually the one that [`isa`] returns. Every method of [`Simd`] is
//! `#[inline(always)]`, so that the whole kernel is compiled inside a single function of this file that has the
//! attribute `target_feature`. Code that is compiled outside of that function makes a function call for every vector
//! instruction. Therefore, do not call these methods in closures passed to `map` or `from_fn`.

#[cfg(any(target_arch = "aarch64", all(feature = "testing", debug_assertions)))]
mod arm;
mod finite;
mod half;
mod lanes;
pub mod math;
mod microarchitecture;
mod portable;
mod prefetch;
mod transpose;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(any(target_arch = "aarch64", all(feature = "testing", debug_assertions)))]
pub use arm::Neon;
pub(crate) use finite::{halves_are_finite, is_finite};
pub use half::Half;
pub(crate) use lanes::{Floats, Lanes, MAX_LANES, Real, Task};
pub use microarchitecture::{Microarchitecture, microarchitecture};
pub use portable::Portable;
pub(crate) use prefetch::prefetch;
pub(crate) use transpose::transpose;
pub use vector::Vectors;
pub(crate) use vector::{VectorLoop, run_vector_loop};
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

use std::sync::OnceLock;

/// An instruction set that a kernel can run on. By default, [`isa`] returns the last one that the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Eight lanes in plain Rust, which the compiler may vectorize.
    Portable,
    /// NEON, four lanes.
    Neon,
    /// AVX2 with FMA, eight lanes.
    Avx2,
    /// AVX-512, sixteen lanes.
    Avx512,
}

/// Returns the instruction sets of this machine, in the order of [`Isa`].
pub fn available() -> Vec<Isa> {
    let all = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];
    all.into_iter().filter(|isa| isa.is_available()).collect()
}

impl Isa {
    /// Returns the number of `f32`s in a vector.
    pub fn lanes(self) -> usize {
        dispatch_to(self, CountLanes)
    }

    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// Returns `true` if this machine and `isa` have an instruction that multiplies pairs of bf16 (AVX512-BF16).
pub fn has_pairs(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_instruction = is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has_instruction = false;
    has_instruction && isa == Isa::Avx512 && isa.is_available()
}

/// Returns the instruction set in use: the last one of this machine, in the order of [`Isa`]. The environment variable
/// `SCONCE_ISA` (`portable`, `neon`, `avx2` or `avx512`; read once) excludes all instruction sets after the named one.
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

/// Code that is generic over the instruction set.
pub trait Kernel: Sized {
    type Output;
    /// Runs the kernel. The method must be `#[inline(always)]`, and so must every function called in its inner loops.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A kernel that returns the number of lanes of a vector.
struct CountLanes;

impl Kernel for CountLanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

/// Runs a kernel with the instruction set in use, [`isa`].
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    dispatch_native(isa(), kernel)
}

/// Runs a kernel with `isa`, or with the portable instruction set if the machine lacks `isa`. In tests on other
/// machines, [`Isa::Neon`] runs with emulated intrinsics. Benches, which are built without debug assertions, do not
/// compile the emulation.
pub fn dispatch_to<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(all(feature = "testing", debug_assertions, not(target_arch = "aarch64")))]
        Isa::Neon => kernel.run_plain(Neon::emulated()),
        _ => dispatch_native(isa, kernel),
    }
}

/// Runs a kernel like [`dispatch_to`], but never emulates an instruction set.
fn dispatch_native<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `is_available` detected the features on this machine.
        Isa::Avx512 if isa.is_available() => unsafe { kernel.run_avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 if isa.is_available() => unsafe { kernel.run_avx2() },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every aarch64 machine has NEON.
        Isa::Neon => unsafe { kernel.run_neon() },
        _ => kernel.run_plain(Portable),
    }
}

/// Runs a kernel that may call [`Simd::dot_pairs`]. If [`has_pairs`] is false for `isa`, returns `None` without running
/// the kernel.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(super) fn dispatch_pairs<K: Kernel>(isa: Isa, kernel: K) -> Option<K::Output> {
    // SAFETY: `has_pairs` detected the features on this machine.
    #[cfg(target_arch = "x86_64")]
    return has_pairs(isa).then(|| unsafe { kernel.run_avx512_pairs() });
    #[cfg(not(target_arch = "x86_64"))]
    return None;
}

/// Runs a kernel of plain loops, which the compiler vectorizes. The compiler may use AVX2 if [`isa`] is AVX2 or
/// AVX-512. AVX-512 would not make these loops faster, and would double their compile time.
pub(super) fn dispatch_loops<K: Kernel>(kernel: K) -> K::Output {
    dispatch_loops_to(isa(), kernel)
}

/// Runs a kernel like [`dispatch_loops`], but with `limit` in place of [`isa`].
pub(super) fn dispatch_loops_to<K: Kernel>(limit: Isa, kernel: K) -> K::Output {
    match limit {
        // SAFETY: `is_available` detected the features on this machine.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 if Isa::Avx2.is_available() => unsafe { kernel.run_avx2() },
        _ => kernel.run_plain(Portable),
    }
}

/// The functions that compile a kernel for an instruction set. They are not inlined, so that [`Simd::call`] keeps the
/// code of a kernel out of its caller. A caller that is compiled without the features could not inline them anyway.
///
/// The functions are methods of the kernel because the compiler assigns a method to a codegen unit by the module of its
/// type. Free functions would put all kernels into a single codegen unit, which one core would compile.
trait Compile: Kernel {
    /// # Safety
    /// The machine must have the features in the attribute.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn run_avx512(self) -> Self::Output {
        self.run(Avx512(()))
    }

    /// # Safety
    /// The machine must have the features in the attribute.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")]
    unsafe fn run_avx512_pairs(self) -> Self::Output {
        self.run(Avx512(()))
    }

    /// # Safety
    /// The machine must have the features in the attribute.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run_avx2(self) -> Self::Output {
        self.run(Avx2(()))
    }

    /// # Safety
    /// The machine must have the feature in the attribute.
    #[cfg(target_arch = "aarch64")]
    #[inline(never)]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(self) -> Self::Output {
        self.run(Neon(()))
    }

    /// Runs the kernel with a token that needs no features.
    #[inline(never)]
    fn run_plain<S: Simd>(self, simd: S) -> Self::Output {
        self.run(simd)
    }
}

impl<K: Kernel> Compile for K {}

/// The operations of an instruction set on its vectors of `f32`s. A value of an implementing type is a token: it exists
/// only on a machine that has the instruction set, or in tests that emulate the instruction set.
///
/// # Safety
/// Methods with a pointer read or write `LANES` consecutive floats (the `_partial` methods `n ≤ LANES` floats, the
/// `_half` methods `n ≤ LANES` numbers of 16 bits). The caller guarantees that these are in bounds; no alignment is
/// needed. The lanes `n..LANES` load as zero.
#[allow(clippy::missing_safety_doc, reason = "stated once in the trait's documentation")]
pub trait Simd: Copy + Send + Sync + 'static {
    type V: Copy;
    /// A range of lanes of a vector.
    type Mask: Copy;
    const LANES: usize;
    /// The number of vector registers that a kernel's inner loop may use.
    const REGISTERS: usize;
    /// Whether [`fma`](Self::fma) rounds once.
    const FUSED: bool;

    /// Runs a kernel with this instruction set in a separate function, so that the kernel is not inlined into the
    /// caller.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::V;
    unsafe fn load(self, from: *const f32) -> Self::V;
    unsafe fn store(self, to: *mut f32, v: Self::V);
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V;
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V);
    /// Returns the mask of the lanes `first..end`. Requires `end ≤ LANES`.
    fn mask(self, first: usize, end: usize) -> Self::Mask;
    /// Loads the lanes of the mask, and zero in all others. Only the floats of the mask's lanes need to be in bounds.
    unsafe fn load_masked(self, from: *const f32, mask: Self::Mask) -> Self::V;
    /// Returns the even and the odd elements of the concatenation of `a` and `b`.
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Alternates the lanes of `a` and `b`: the inverse of [`deinterleave`](Self::deinterleave).
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Lane `i` of the result is element `p` of `a` followed by `b`, where `p` is the integer with the bits of lane `i`
    /// of `positions`. Requires `p < 2 · LANES`.
    #[inline(always)]
    fn permute(self, [a, b]: [Self::V; 2], positions: Self::V) -> Self::V {
        let mut elements = [0f32; 32];
        let mut lanes = [0f32; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            self.store(elements.as_mut_ptr(), a);
            self.store(elements.as_mut_ptr().add(Self::LANES), b);
            self.store(lanes.as_mut_ptr(), positions);
            for lane in &mut lanes {
                *lane = elements[lane.to_bits() as usize % (2 * Self::LANES)];
            }
            self.load(lanes.as_ptr())
        }
    }
    /// Returns in each lane `same` if `a` equals `b`, and `other` otherwise. NaN does not equal anything.
    fn select_equal(self, a_and_b: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V;
    /// Returns in each lane `then` if `a < b`, and `otherwise` if not, or if either is NaN.
    fn select_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// Returns in each lane `then` if `a ≤ b`, and `otherwise` if not, or if either is NaN.
    fn select_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns the absolute values of `magnitude` with the signs of `sign`.
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V;
    /// Rounds to the nearest integers, ties to even. Requires numbers below 2²² in magnitude.
    fn round(self, v: Self::V) -> Self::V;
    /// Returns `v · 2^exponent`, denormal results included. Requires integer exponents in `[-252, 254]`.
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V;
    /// Returns `a * b + c`, rounded once if [`FUSED`](Self::FUSED).
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Returns `a * b + c` in the lanes of the mask and `c` in all others. In the other lanes, `b` must be finite, and
    /// if `c` is -0, the result may be +0.
    #[inline(always)]
    fn fma_masked(self, a: Self::V, b: Self::V, c: Self::V, mask: Self::Mask) -> Self::V {
        self.fma(self.keep_lanes(a, mask), b, c)
    }
    /// Returns the larger of a bound and a value; NaN if `value` is NaN.
    fn max(self, bound: Self::V, value: Self::V) -> Self::V;
    /// Returns the smaller of a bound and a value; NaN if `value` is NaN.
    fn min(self, bound: Self::V, value: Self::V) -> Self::V;
    /// Returns the larger of two values; NaN if either is NaN.
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `v` with the lanes outside of the mask set to zero.
    fn keep_lanes(self, v: Self::V, mask: Self::Mask) -> Self::V;
    /// Returns the sum of all lanes, added in a fixed order.
    fn sum(self, v: Self::V) -> f32;

    /// Loads `n` numbers of f16 or bf16 and converts them to f32. The other lanes are zero.
    #[inline(always)]
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> Self::V {
        // SAFETY: the caller guarantees `n` numbers in bounds.
        unsafe { half::load_lanes(self, half, from, n) }
    }
    /// Rounds the first `n` lanes to f16 or bf16, ties to even, and stores them.
    #[inline(always)]
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: Self::V) {
        // SAFETY: the caller guarantees `n` numbers in bounds.
        unsafe { half::store_lanes(self, half, to, n, v) }
    }
    /// Packs a pair of bf16 into each lane. The lower 16 bits of the result are the upper 16 bits of `even`, and the
    /// upper 16 bits are those of `odd`.
    #[inline(always)]
    fn pair(self, even: Self::V, odd: Self::V) -> Self::V {
        let mut a = [0f32; 16];
        let mut b = [0f32; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            self.store(a.as_mut_ptr(), even);
            self.store(b.as_mut_ptr(), odd);
            for (a, b) in a.iter_mut().zip(b) {
                *a = f32::from_bits(a.to_bits() >> 16 | b.to_bits() & 0xffff_0000);
            }
            self.load(a.as_ptr())
        }
    }
    /// Returns the dot product of the [pairs](Self::pair) in each lane of `a` and `b`, plus `c`. Denormal numbers may
    /// be treated as zero.
    ///
    /// # Safety
    /// The caller must be a kernel that `dispatch_pairs` runs.
    #[inline(always)]
    unsafe fn dot_pairs(self, _a: Self::V, _b: Self::V, _c: Self::V) -> Self::V {
        unreachable!("`dot_pairs` is called only with AVX512-BF16")
    }

    /// Returns the mask of the lanes inside a row of `len` elements, for a vector that begins at element `first`.
    /// `first` may be negative.
    #[inline(always)]
    fn mask_in_row(self, first: isize, len: usize) -> Self::Mask {
        let lane = |element: usize| (element as isize - first).clamp(0, Self::LANES as isize) as usize;
        self.mask(lane(0), lane(len))
    }

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.)
    }
}
