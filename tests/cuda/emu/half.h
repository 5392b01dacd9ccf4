// CUDA's 16-bit floating-point types. Floats are rounded to nearest, ties to even; NaN stays NaN.
#pragma once
#include "types.h"

struct alignas(2) __half {
    uint16_t bits;
    __half() = default;
    __half(float);
    operator float() const;
};

struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float);
    operator float() const;
};

struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };

namespace cuda_cpu {
template <class To, class From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "bit_cast needs types of the same size");
    To to;
    memcpy(static_cast<void *>(&to), &from, sizeof to);
    return to;
}

inline uint16_t half_bits(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fffu;               // the device's NaN
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;       // 65520 and above round to infinity
    uint32_t kept, rest, half;
    if (magnitude >= 0x38800000u) {                            // a normal half: drop 13 bits
        kept = (magnitude >> 13) - (112u << 10), rest = magnitude & 0x1fffu, half = 0x1000u;
    } else {                                                   // a subnormal half: units of 2^-24
        const uint32_t exponent = magnitude >> 23, dropped = 126u - exponent;
        if (dropped > 24u) return sign;
        const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        kept = dropped == 24u ? 0u : mantissa >> dropped;
        rest = mantissa & ((1u << dropped) - 1u), half = 1u << (dropped - 1u);
    }
    const bool up = rest > half || (rest == half && (kept & 1u));
    return uint16_t(sign | (kept + up));
}

inline float half_value(uint16_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 0x3ffu;
    if (exponent == 31u) return bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0u) return (sign ? -1.f : 1.f) * float(mantissa) * 0x1p-24f;
    return bit_cast<float>(sign | (exponent + 112u) << 23 | mantissa << 13);
}

inline uint16_t bfloat16_bits(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float bfloat16_value(uint16_t bits) { return bit_cast<float>(uint32_t(bits) << 16); }
}  // namespace cuda_cpu

inline __half::__half(float value) : bits(cuda_cpu::half_bits(value)) {}
inline __half::operator float() const { return cuda_cpu::half_value(bits); }
inline __nv_bfloat16::__nv_bfloat16(float value) : bits(cuda_cpu::bfloat16_bits(value)) {}
inline __nv_bfloat16::operator float() const { return cuda_cpu::bfloat16_value(bits); }

static inline float __half2float(__half h) { return h; }
static inline __half __float2half(float f) { return __half(f); }
static inline __half __float2half_rn(float f) { return __half(f); }
static inline float2 __half22float2(__half2 h) { return {h.x, h.y}; }
static inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
static inline __half2 __float22half2_rn(float2 f) { return {__half(f.x), __half(f.y)}; }
static inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
static inline unsigned short __half_as_ushort(__half h) { return h.bits; }
static inline __half __ushort_as_half(unsigned short bits) { return cuda_cpu::bit_cast<__half>(bits); }

static inline float __bfloat162float(__nv_bfloat16 b) { return b; }
static inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
static inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
static inline float2 __bfloat1622float2(__nv_bfloat162 b) { return {b.x, b.y}; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {__nv_bfloat16(f.x), __nv_bfloat16(f.y)}; }
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    return cuda_cpu::bit_cast<__nv_bfloat16>(bits);
}
