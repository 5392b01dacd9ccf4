// CUDA's keywords. Included after the standard library's headers, some of which use the same names.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
// An OS thread runs one block at a time, so its thread-local memory is the block's shared memory.
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

#define threadIdx cuda_cpu::coordinates.threadIdx
#define blockIdx cuda_cpu::coordinates.blockIdx
#define blockDim cuda_cpu::coordinates.blockDim
#define gridDim cuda_cpu::coordinates.gridDim
static const int warpSize = 32;
