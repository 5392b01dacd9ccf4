// Products computed by a warpgroup (four warps) with both factors in shared memory (`wgmma`), and the other
// intrinsics of compute capability 9.0.
#pragma once
#include "barriers.h"
#include "engine.h"
#include "half.h"
#include <string>

namespace cuda_cpu {
/// Makes this thread's writes to shared memory visible to the products that start after the next barrier.
void fence_async_proxy();

template <int N> inline void decrease_registers() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "expected a multiple of 8 registers per thread, from 24 to 256");
}
template <int N> inline void increase_registers() { decrease_registers<N>(); }

/// Returns a factor's descriptor: the offset of `start` in the dynamic shared memory, and both strides.
uint64_t matrix_descriptor(const void *start, int depth_stride, int row_stride);

template <class T> constexpr ElementType ELEMENT_TYPE = ElementType::Tf32;
template <> constexpr ElementType ELEMENT_TYPE<__half> = ElementType::F16;
template <> constexpr ElementType ELEMENT_TYPE<__nv_bfloat16> = ElementType::BF16;

/// Starts a matrix product that is added to `sums`. `a` and `b` are descriptors of the factors. The sums are NaN until
/// the thread has waited for the product.
void start_product(ElementType type, unsigned columns, float *sums, uint64_t a, uint64_t b);
template <class T, int N> inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "expected a multiple of 8 columns, at most 256");
    static_assert(ELEMENT_TYPE<T> != ElementType::Tf32 || sizeof(T) == 4, "expected half, bfloat16 or float elements");
    start_product(ELEMENT_TYPE<T>, N, d, a, b);
}
void wgmma_fence();
void wgmma_commit();
/// Waits until all but the `pending` newest committed groups of products are finished.
void finish_products(unsigned pending);
template <int N> inline void wgmma_wait() { finish_products(N); }

// Functions that the scheduler calls.
void begin_products(unsigned threads);
/// Describes an error in the state of the products at the end of a block. Returns an empty string if there is no error.
std::string unfinished_products();
}  // namespace cuda_cpu
