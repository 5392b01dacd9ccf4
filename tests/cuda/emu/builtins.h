// The built-in functions of CUDA C++.
#pragma once
#include "engine.h"
#include "memory.h"

// Barriers and votes.
static inline void __syncthreads() { cuda_cpu::wait_block(); }
static inline int __syncthreads_or(int p) { return cuda_cpu::wait_block(!!p) != 0; }
static inline int __syncthreads_and(int p) { return cuda_cpu::wait_block(!p) == 0; }
static inline int __syncthreads_count(int p) { return cuda_cpu::wait_block(!!p); }
static inline void __syncwarp(unsigned mask = ~0u) { cuda_cpu::wait_warp(mask, true); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline unsigned __activemask() {
    cuda_cpu::fail("__activemask() has no defined result: pass the mask explicitly");
}

namespace cuda_cpu {
template <class T>
T shuffle(unsigned mask, T value, unsigned source) {
    T result;
    memcpy(static_cast<void *>(&result), exchange(mask, &value, sizeof value)[source].bytes, sizeof result);
    return result;
}
}  // namespace cuda_cpu

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    const int lane = cuda_cpu::lane();
    return cuda_cpu::shuffle(mask, value, (lane & ~(width - 1)) | (from & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const int lane = cuda_cpu::lane(), from = lane ^ bits;
    return cuda_cpu::shuffle(mask, value, (from & ~(width - 1)) > (lane & ~(width - 1)) ? lane : from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int by, int width = 32) {
    const int lane = cuda_cpu::lane();
    return cuda_cpu::shuffle(mask, value, (lane & (width - 1)) + by < width ? lane + by : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int by, int width = 32) {
    const int lane = cuda_cpu::lane();
    return cuda_cpu::shuffle(mask, value, (lane & (width - 1)) >= by ? lane - by : lane);
}
static inline unsigned __ballot_sync(unsigned mask, int p) {
    const unsigned char yes = !!p;
    const cuda_cpu::Slot *votes = cuda_cpu::exchange(mask, &yes, 1);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; lane++) ballot |= unsigned(votes[lane].bytes[0] == 1) << lane;
    return ballot & mask;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }

// Loads and stores with cache hints.
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> void __stcs(T *p, T value) { *p = value; }
template <class T> void __stcg(T *p, T value) { *p = value; }

// The emulator does not check the accesses of atomics. Atomics do not order other accesses, and the result of a
// floating-point sum with `atomicAdd` depends on the thread order.
#define CUDA_CPU_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
template <class T, class U> CUDA_CPU_UNCHECKED T atomicAdd(T *p, U v) { T old = *p; *p = old + (T)v; return old; }
template <class T, class U> CUDA_CPU_UNCHECKED T atomicMax(T *p, U v) { T old = *p; *p = std::max(old, (T)v); return old; }
template <class T, class U> CUDA_CPU_UNCHECKED T atomicMin(T *p, U v) { T old = *p; *p = std::min(old, (T)v); return old; }
template <class T, class U> CUDA_CPU_UNCHECKED T atomicExch(T *p, U v) { T old = *p; *p = (T)v; return old; }
template <class T, class U, class V>
CUDA_CPU_UNCHECKED T atomicCAS(T *p, U expected, V v) { T old = *p; if (old == (T)expected) *p = (T)v; return old; }
#undef CUDA_CPU_UNCHECKED

// Arithmetic. (The first functions are macros, because glibc's headers also declare their names.)
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / std::sqrt(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1.f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
/// Returns four of the eight bytes of `x` and `y`. Each hexadecimal digit of `selector` selects one of them.
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const uint64_t bytes = uint64_t(y) << 32 | x;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; i++) result |= unsigned(bytes >> (selector >> i * 4 & 7) * 8 & 0xff) << i * 8;
    return result;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
static inline float __int_as_float(int x) { return cuda_cpu::bit_cast<float>(x); }
static inline int __float_as_int(float x) { return cuda_cpu::bit_cast<int>(x); }
static inline float __uint_as_float(unsigned x) { return cuda_cpu::bit_cast<float>(x); }
static inline unsigned __float_as_uint(float x) { return cuda_cpu::bit_cast<unsigned>(x); }
[[noreturn]] static inline void __trap() { cuda_cpu::fail("__trap()"); }
using std::max;
using std::min;
