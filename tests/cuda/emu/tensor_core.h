// Warp-wide matrix instructions, by the fragment layouts of the PTX ISA ("Matrix Fragments for mma.m16n8k8"
// and its neighbours): with `group` the lane over 4 and `member` the rest, a lane holds rows `group` and
// `group + 8` of A and D, and column `group` of B.
#pragma once
#include "builtins.h"

namespace cuda_cpu {
struct Fragments {
    uint32_t a[4], b[2];
};

/// D += A·B of 16×8×K, where `A(fragments, lane's register)` give the elements.
template <int K, class ElementA, class ElementB>
inline void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], ElementA at_a, ElementB at_b) {
    Fragments mine;
    memcpy(mine.a, a, sizeof a), memcpy(mine.b, b, sizeof b);
    const Slot *slots = exchange(~0u, &mine, sizeof mine);
    const auto of = [&](unsigned lane) {
        Fragments fragments;
        memcpy(&fragments, slots[lane].bytes, sizeof fragments);
        return fragments;
    };
    const unsigned group = lane() / 4, member = lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = group + (i / 2) * 8, column = member * 2 + i % 2;
        float sum = 0.f;
        for (unsigned k = 0; k < K; k++) sum += at_a(of, row, k) * at_b(of, k, column);
        d[i] += sum;
    }
}

/// What the tensor cores see of a 32-bit register: 10 bits of mantissa.
inline float tf32_value(uint32_t bits) { return bit_cast<float>(bits & 0xffffe000u); }

/// m16n8k8: A's registers are (row, k), (row + 8, k), (row, k + 4), (row + 8, k + 4); B's (k), (k + 4).
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    multiply<8>(
        d, a, b,
        [](auto of, unsigned row, unsigned k) { return tf32_value(of(row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]); },
        [](auto of, unsigned k, unsigned column) { return tf32_value(of(column * 4 + k % 4).b[k / 4]); });
}

/// m16n8k16: as above with two neighbours along k in a register, the lower one in the lower half.
template <class T>
inline void mma_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const auto value = [](uint32_t pair, unsigned k) { return float(bit_cast<T>(uint16_t(pair >> k % 2 * 16))); };
    multiply<16>(
        d, a, b,
        [&](auto of, unsigned row, unsigned k) {
            return value(of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k);
        },
        [&](auto of, unsigned k, unsigned column) { return value(of(column * 4 + k % 8 / 2).b[k / 8], k); });
}

/// `N` matrices of 8×8 16-bit elements: lanes 8i to 8i + 7 give the addresses of the i-th one's rows.
template <int N, bool TRANSPOSED>
inline void ldmatrix(uint32_t (&r)[N], const void *row) {
    if (lane() < 8 * N) {
        if (uintptr_t(row) % 16) fail("ldmatrix of a row at a misaligned address");
        touch(row, 16, false);
    }
    const Slot *rows = exchange(~0u, &row, sizeof row);
    for (unsigned i = 0; i < N; i++) {
        uint16_t pair[2];
        for (unsigned half = 0; half < 2; half++) {
            const unsigned down = TRANSPOSED ? lane() % 4 * 2 + half : lane() / 4;
            const unsigned along = TRANSPOSED ? lane() / 4 : lane() % 4 * 2 + half;
            const unsigned char *from;
            memcpy(&from, rows[i * 8 + down].bytes, sizeof from);
            memcpy(&pair[half], from + along * 2, 2);
        }
        r[i] = pair[0] | uint32_t(pair[1]) << 16;
    }
}

/// Rounds to 10 bits of mantissa, ties away from zero.
inline uint32_t to_tf32(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0x7fffffu ? 0x7fffffffu : bits;
    return (bits + 0x1000u) & 0xffffe000u;
}
}  // namespace cuda_cpu
