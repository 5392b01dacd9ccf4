// Products by a warpgroup, four warps, with both factors in shared memory (`wgmma`), and what else only compute
// capability 9.0 has.
#pragma once
#include "barriers.h"
#include "engine.h"
#include "half.h"
#include <string>

namespace cuda_cpu {
/// Orders what this thread wrote to shared memory before products that know of this.
void fence_async_proxy();

template <int N> inline void decrease_registers() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "registers a thread are a multiple of 8, from 24 to 256");
}
template <int N> inline void increase_registers() { decrease_registers<N>(); }

/// A factor's descriptor, with its place counted from the beginning of the dynamic shared memory.
uint64_t matrix_descriptor(const void *start, int deeper, int further);

template <class T> constexpr Factor FACTOR = Factor::Tf32;
template <> constexpr Factor FACTOR<__half> = Factor::F16;
template <> constexpr Factor FACTOR<__nv_bfloat16> = Factor::BF16;

/// Until it is waited for, the sums are NaN.
void start_product(Factor factor, unsigned columns, float *sums, uint64_t a, uint64_t b);
template <class T, int N> inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "columns are a multiple of 8, up to 256");
    static_assert(FACTOR<T> != Factor::Tf32 || sizeof(T) == 4, "no products of this type");
    start_product(FACTOR<T>, N, d, a, b);
}
void wgmma_fence();
void wgmma_commit();
void finish_products(unsigned pending);
template <int N> inline void wgmma_wait() { finish_products(N); }

// The scheduler's part.
void begin_products(unsigned threads);
/// What is wrong when the block's threads have all returned, or nothing.
std::string left_products();
}  // namespace cuda_cpu
