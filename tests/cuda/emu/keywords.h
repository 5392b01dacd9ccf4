// CUDA's keywords. After every header of the standard library, some of which use the same names.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
// One block runs at a time on an OS thread, so that each OS thread has the shared memory of one block.
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

#define threadIdx cuda_cpu::here.threadIdx
#define blockIdx cuda_cpu::here.blockIdx
#define blockDim cuda_cpu::here.blockDim
#define gridDim cuda_cpu::here.gridDim
static const int warpSize = 32;
