//! The NEON intrinsics that the kernels use, in plain Rust, with the names and types of `std::arch::aarch64`, so that
//! the NEON code is compiled and tested on other machines. The functions are not inlined, so that their callers compile
//! quickly.
#![allow(non_camel_case_types, reason = "the names of `std::arch::aarch64`")]
#![allow(clippy::missing_safety_doc, reason = "as for the intrinsics, pointers must point to four floats")]

use std::array::from_fn;

/// A register of four floats.
#[derive(Clone, Copy)]
pub struct float32x4_t([f32; 4]);

/// A register of four lane masks: all bits set, or none.
#[derive(Clone, Copy)]
pub struct uint32x4_t([u32; 4]);

/// A register of four integers.
#[derive(Clone, Copy)]
pub struct int32x4_t([i32; 4]);

fn lanewise(f: impl Fn(usize) -> f32) -> float32x4_t {
    float32x4_t(from_fn(f))
}

#[inline(never)]
pub unsafe fn vdupq_n_f32(x: f32) -> float32x4_t {
    float32x4_t([x; 4])
}

#[inline(never)]
pub unsafe fn vld1q_f32(from: *const f32) -> float32x4_t {
    // SAFETY: the caller guarantees four floats; an array of floats has the alignment of a float.
    float32x4_t(unsafe { from.cast::<[f32; 4]>().read() })
}

#[inline(never)]
pub unsafe fn vst1q_f32(to: *mut f32, v: float32x4_t) {
    // SAFETY: as in `vld1q_f32`.
    unsafe { to.cast::<[f32; 4]>().write(v.0) }
}

/// Returns the even elements of the concatenation of `a` and `b`.
#[inline(never)]
pub unsafe fn vuzp1q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t([a.0[0], a.0[2], b.0[0], b.0[2]])
}

/// Returns the odd elements of the concatenation of `a` and `b`.
#[inline(never)]
pub unsafe fn vuzp2q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t([a.0[1], a.0[3], b.0[1], b.0[3]])
}

/// Interleaves the lower halves of `a` and `b`.
#[inline(never)]
pub unsafe fn vzip1q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t([a.0[0], b.0[0], a.0[1], b.0[1]])
}

/// Interleaves the upper halves of `a` and `b`.
#[inline(never)]
pub unsafe fn vzip2q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t([a.0[2], b.0[2], a.0[3], b.0[3]])
}

/// Sets all bits of a lane if `a == b`.
#[inline(never)]
pub unsafe fn vceqq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
    uint32x4_t(from_fn(|i| if a.0[i] == b.0[i] { u32::MAX } else { 0 }))
}

/// Selects each bit from `a` if the mask's bit is set, and from `b` if not.
#[inline(never)]
pub unsafe fn vbslq_f32(mask: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| f32::from_bits(mask.0[i] & a.0[i].to_bits() | !mask.0[i] & b.0[i].to_bits()))
}

/// Sets all bits of a lane if `a < b`.
#[inline(never)]
pub unsafe fn vcltq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
    uint32x4_t(from_fn(|i| if a.0[i] < b.0[i] { u32::MAX } else { 0 }))
}

/// Sets all bits of a lane if `a ≤ b`.
#[inline(never)]
pub unsafe fn vcleq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
    uint32x4_t(from_fn(|i| if a.0[i] <= b.0[i] { u32::MAX } else { 0 }))
}

#[inline(never)]
pub unsafe fn vdupq_n_u32(x: u32) -> uint32x4_t {
    uint32x4_t([x; 4])
}

#[inline(never)]
pub unsafe fn vdupq_n_s32(x: i32) -> int32x4_t {
    int32x4_t([x; 4])
}

#[inline(never)]
pub unsafe fn vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    int32x4_t(from_fn(|i| a.0[i].wrapping_add(b.0[i])))
}

#[inline(never)]
pub unsafe fn vsubq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    int32x4_t(from_fn(|i| a.0[i].wrapping_sub(b.0[i])))
}

/// Shifts right arithmetically: the sign fills the vacated bits.
#[inline(never)]
pub unsafe fn vshrq_n_s32<const BITS: i32>(v: int32x4_t) -> int32x4_t {
    int32x4_t(v.0.map(|x| x >> BITS))
}

#[inline(never)]
pub unsafe fn vshlq_n_s32<const BITS: i32>(v: int32x4_t) -> int32x4_t {
    int32x4_t(v.0.map(|x| x << BITS))
}

/// Rounds toward zero, and saturates out of range. NaN becomes zero.
#[inline(never)]
pub unsafe fn vcvtq_s32_f32(v: float32x4_t) -> int32x4_t {
    int32x4_t(v.0.map(|x| x as i32))
}

/// Reinterprets the bits.
#[inline(never)]
pub unsafe fn vreinterpretq_f32_s32(v: int32x4_t) -> float32x4_t {
    lanewise(|i| f32::from_bits(v.0[i] as u32))
}

/// Rounds to the nearest integer, ties to even.
#[inline(never)]
pub unsafe fn vrndnq_f32(v: float32x4_t) -> float32x4_t {
    lanewise(|i| v.0[i].round_ties_even())
}

#[inline(never)]
pub unsafe fn vdivq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| a.0[i] / b.0[i])
}

#[inline(never)]
pub unsafe fn vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| a.0[i] + b.0[i])
}

#[inline(never)]
pub unsafe fn vsubq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| a.0[i] - b.0[i])
}

#[inline(never)]
pub unsafe fn vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| a.0[i] * b.0[i])
}

/// Returns `a + b · c`, rounded once.
#[inline(never)]
pub unsafe fn vfmaq_f32(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    lanewise(|i| b.0[i].mul_add(c.0[i], a.0[i]))
}

/// Returns the larger operand, or NaN if either is NaN.
#[inline(never)]
pub unsafe fn vmaxq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| if a.0[i] > b.0[i] || a.0[i].is_nan() { a.0[i] } else { b.0[i] })
}

/// Returns the smaller operand, or NaN if either is NaN.
#[inline(never)]
pub unsafe fn vminq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    lanewise(|i| if a.0[i] < b.0[i] || a.0[i].is_nan() { a.0[i] } else { b.0[i] })
}

/// Returns the sum of all lanes, added pairwise as the instruction does.
#[inline(never)]
pub unsafe fn vaddvq_f32(v: float32x4_t) -> f32 {
    (v.0[0] + v.0[1]) + (v.0[2] + v.0[3])
}
