// Sums over a block of 256 threads, always in the same order.
#pragma once
#include "../../../cuda/portable.cuh"

static const int SUM_THREADS = 256;

// The sum of every thread's `value`, in the first thread. `scratch` is one number a warp, and may be written
// again after the next barrier.
template <class A> __device__ __forceinline__ A block_sum(A value, A (&scratch)[SUM_THREADS / 32]) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    A sum = scratch[0];
    #pragma unroll
    for (int warp = 1; warp < SUM_THREADS / 32; warp++) sum += scratch[warp];
    return sum;
}
