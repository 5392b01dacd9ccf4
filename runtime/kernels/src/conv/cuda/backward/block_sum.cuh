// Sums over a block of 256 threads and over parts, in a fixed order.
#pragma once
#include "../../../cuda/portable.cuh"

static const int SUM_THREADS = 256;

// Returns the sum of `value` over all threads of the block. `scratch` has one number per warp and may be reused after
// the next barrier.
template <class A> static __device__ __forceinline__ A block_sum(A value, A (&scratch)[SUM_THREADS / 32]) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    A sum = scratch[0];
    #pragma unroll
    for (int warp = 1; warp < SUM_THREADS / 32; warp++) sum += scratch[warp];
    return sum;
}

// A block computes SUM_WIDTH neighboring sums from their parts. SUM_HEIGHT threads share the parts of each sum.
static const int SUM_WIDTH = 32, SUM_HEIGHT = SUM_THREADS / SUM_WIDTH;

// Returns sum `threadIdx.x % SUM_WIDTH` of the block: adds the parts `parts[i * step]` of this sum for i <
// `part_count`. All threads of the block must call this function. Threads of the same sum must pass the same `parts`.
template <class A>
static __device__ __forceinline__ A sum_of_parts(const A *parts, size_t step, int part_count,
                                                 A (&scratch)[SUM_HEIGHT][SUM_WIDTH]) {
    const int column = threadIdx.x % SUM_WIDTH, row = threadIdx.x / SUM_WIDTH;
    A sum = 0;
    #pragma unroll 4
    for (int part = row; part < part_count; part += SUM_HEIGHT) sum += parts[part * step];
    scratch[row][column] = sum;
    __syncthreads();
    sum = scratch[0][column];
    #pragma unroll
    for (int share = 1; share < SUM_HEIGHT; share++) sum += scratch[share][column];
    return sum;
}
