// The intrinsics for the warp-wide instructions in tensor_core.cpp, and the rounding of their operands.
#pragma once
#include "engine.h"
#include "half.h"

namespace cuda_cpu {
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma(ElementType::Tf32, d, a, b);
}

template <class T> void mma_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <> inline void mma_half<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma(ElementType::F16, d, a, b);
}
template <> inline void mma_half<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma(ElementType::BF16, d, a, b);
}

template <int N, bool TRANSPOSED> inline void ldmatrix(uint32_t (&r)[N], const void *row) {
    load_matrices(r, N, TRANSPOSED, row);
}

/// Rounds to 10 bits of mantissa, ties away from zero.
inline uint32_t to_tf32(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0x7fffffu ? 0x7fffffffu : bits;
    return (bits + 0x1000u) & 0xffffe000u;
}
}  // namespace cuda_cpu
