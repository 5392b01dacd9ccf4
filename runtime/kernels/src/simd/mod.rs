//! One vector of `f32`s, under the name of each instruction set, and the choice between them.
//!
//! A kernel is written once, generic over [`Simd`], as a type that implements [`Kernel`];
//! [`dispatch_to`] runs it with one of the machine's instruction sets, as a rule [`isa`], the widest.
//! Every method of every token is `#[inline(always)]`, so that the whole kernel is compiled inside the
//! one function of this file that carries the `target_feature` attribute. What is not compiled there calls
//! a function for every instruction: no token's methods in closures that go to `map` or `from_fn`.

#[cfg(any(target_arch = "aarch64", test))]
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

#[cfg(any(target_arch = "aarch64", test))]
pub use arm::Neon;
pub(crate) use finite::{are_finite, is_finite};
pub use half::Half;
pub(crate) use lanes::{Floats, Lanes, MAX_LANES, Real, Work};
pub use microarchitecture::{Microarchitecture, microarchitecture};
pub use portable::Portable;
pub(crate) use prefetch::prefetch;
pub(crate) use transpose::transpose;
pub use vector::Vector;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

use std::sync::OnceLock;

/// An instruction set a kernel can run on, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, eight lanes that the compiler vectorises as it can.
    Portable,
    /// NEON, four lanes.
    Neon,
    /// AVX2 with FMA, eight lanes.
    Avx2,
    /// AVX-512, sixteen lanes.
    Avx512,
}

/// The instruction sets of this machine, the portable one first, the one in use by default last.
pub fn available() -> Vec<Isa> {
    let all = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];
    all.into_iter().filter(|isa| isa.is_available()).collect()
}

impl Isa {
    /// The `f32`s of a vector.
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

/// Whether this machine multiplies pairs of bf16 with one instruction beside those of `isa`.
pub fn has_pairs(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa == Isa::Avx512 && isa.is_available() && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
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

/// Counts the lanes of a vector.
struct CountLanes;

impl Kernel for CountLanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

/// Runs `kernel` with `isa`, or with the portable path where the machine lacks it.
pub fn dispatch_to<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the features have been found on this machine.
        Isa::Avx512 if isa.is_available() => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 if isa.is_available() => unsafe { run_avx2(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every such machine has NEON.
        Isa::Neon => unsafe { run_neon(kernel) },
        // On other machines unit tests run what is written for NEON, without its instructions.
        #[cfg(all(test, not(target_arch = "aarch64")))]
        Isa::Neon => kernel.run(Neon::emulated()),
        _ => kernel.run(Portable),
    }
}

/// Runs a kernel that may call [`Simd::dot_pairs`], where [`has_pairs`] says that it can.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(super) fn dispatch_pairs<K: Kernel>(isa: Isa, kernel: K) -> Option<K::Output> {
    // SAFETY: the features have been found on this machine.
    #[cfg(target_arch = "x86_64")]
    return has_pairs(isa).then(|| unsafe { run_avx512_pairs(kernel) });
    #[cfg(not(target_arch = "x86_64"))]
    return None;
}

/// Runs a kernel of plain loops, which the compiler makes vectors of: with AVX2 where the machine has it.
/// AVX-512 would give such loops nothing and take as long again to compile.
pub(super) fn dispatch_loops<K: Kernel>(kernel: K) -> K::Output {
    dispatch_loops_to(isa(), kernel)
}

/// As [`dispatch_loops`], in an instruction set no wider than `limit`.
pub(super) fn dispatch_loops_to<K: Kernel>(limit: Isa, kernel: K) -> K::Output {
    match limit {
        // SAFETY: the features have been found on this machine.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 if Isa::Avx2.is_available() => unsafe { run_avx2(kernel) },
        _ => kernel.run(Portable),
    }
}

// Not inlined, so that `Simd::call` keeps a kernel out of its caller; a function without the features could not inline
// these anyway.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,f16c")]
fn run_avx512_pairs<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

#[cfg(target_arch = "aarch64")]
#[inline(never)]
#[target_feature(enable = "neon")]
fn run_neon<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

/// Runs a kernel with a token that needs no target features, out of line.
#[inline(never)]
fn run_plain<S: Simd, K: Kernel>(simd: S, kernel: K) -> K::Output {
    kernel.run(simd)
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
    /// Whether [`fma`](Self::fma) rounds once.
    const FUSED: bool;

    /// Runs a kernel with this instruction set in a function of its own, which the caller's code does not grow by.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

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
    /// The lanes of `a` and `b` in turns: what [`deinterleave`](Self::deinterleave) takes apart.
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The lanes of `same` where those of both `equal` are, which NaN never is, and of `other` elsewhere.
    fn pick(self, equal: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V;
    /// The lanes of `then` where `a < b`, and of `otherwise` elsewhere, so also where either is NaN.
    fn pick_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// The lanes of `then` where `a ≤ b`, and of `otherwise` elsewhere, so also where either is NaN.
    fn pick_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The absolute values of `magnitude` with the signs of `sign`.
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V;
    /// The nearest integers, of two equally near ones the even. Requires numbers below 2²² in magnitude.
    fn round(self, v: Self::V) -> Self::V;
    /// `v · 2^exponent`, also where the result is denormal. Requires integer exponents in `[-252, 254]`.
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a * b + c` at the lanes of the mask, and `c` in all others, where `b` is finite; a zero may lose its sign
    /// there.
    #[inline(always)]
    fn fma_masked(self, a: Self::V, b: Self::V, c: Self::V, mask: Self::Mask) -> Self::V {
        self.fma(self.keep(a, mask), b, c)
    }
    /// The larger of a bound and a value; NaN where `value` is NaN.
    fn max(self, bound: Self::V, value: Self::V) -> Self::V;
    /// The smaller of a bound and a value; NaN where `value` is NaN.
    fn min(self, bound: Self::V, value: Self::V) -> Self::V;
    /// The larger of two values; NaN where either is.
    fn larger(self, a: Self::V, b: Self::V) -> Self::V;
    /// The lanes of the mask as they are, zero in all others.
    fn keep(self, v: Self::V, mask: Self::Mask) -> Self::V;
    /// The sum of all lanes, in a fixed order.
    fn sum(self, v: Self::V) -> f32;

    /// `n` halves, widened; zero in all lanes after them.
    #[inline(always)]
    unsafe fn load_half(self, half: Half, from: *const u16, n: usize) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { half::load_lanes(self, half, from, n) }
    }
    /// The first `n` lanes, rounded to the nearest halves.
    #[inline(always)]
    unsafe fn store_half(self, half: Half, to: *mut u16, n: usize, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { half::store_lanes(self, half, to, n, v) }
    }
    /// A pair of bf16 in each lane, the upper halves of its `even` and of its `odd`.
    #[inline(always)]
    fn pair(self, even: Self::V, odd: Self::V) -> Self::V {
        let (mut a, mut b) = ([0f32; 16], [0f32; 16]);
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
    /// `a · b + c` for [pairs](Self::pair) `a` and `b` in each lane. Denormal numbers may count as zero.
    ///
    /// # Safety
    /// The kernel has been run by `dispatch_pairs`.
    #[inline(always)]
    unsafe fn dot_pairs(self, _a: Self::V, _b: Self::V, _c: Self::V) -> Self::V {
        unreachable!("only an instruction set with pairs is asked for them")
    }

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
