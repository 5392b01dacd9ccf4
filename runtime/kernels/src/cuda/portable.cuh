// Macros that let a C++ compiler for the CPU compile the kernels too, for the emulator in tests/cuda.
//
// - `DYN_SHARED(T, name)` declares a `T *` to the block's dynamic shared memory, 16-byte aligned.
// - `EXPORT_KERNEL(name)` follows each `extern "C"` kernel, so that the tests find the kernel by name.
#pragma once
#ifdef CUDA_CPU_EMU
#define DYN_SHARED(T, name) T *name = reinterpret_cast<T *>(cuda_cpu::dynamic_shared())
#define EXPORT_KERNEL(kernel) CUDA_CPU_EXPORT(kernel)
#else
#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define DYN_SHARED(T, name)                                            \
    extern __shared__ __align__(16) unsigned char dynamic_shared_[]; \
    T *name = reinterpret_cast<T *>(dynamic_shared_)
#define EXPORT_KERNEL(kernel)
#endif
