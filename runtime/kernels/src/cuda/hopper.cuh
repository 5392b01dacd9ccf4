// Wrappers of PTX instructions that compute capability 9.0 adds (`sm_90a`): matrix products that four warps compute
// together, with both factors in shared memory; bulk copies; and barriers in shared memory that count threads and
// bytes.
#pragma once
#include "portable.cuh"

#ifdef CUDA_CPU_EMU
// The emulator's implementation, which follows the documented layouts: tests/cuda/emu/hopper.h.
using cuda_cpu::Barrier;
using cuda_cpu::barrier_arrive;
using cuda_cpu::barrier_expect;
using cuda_cpu::barrier_init;
using cuda_cpu::barrier_wait;
using cuda_cpu::fence_barrier_init;
using cuda_cpu::bulk_copy;
using cuda_cpu::fence_async_proxy;
using cuda_cpu::decrease_registers;
using cuda_cpu::matrix_descriptor;
using cuda_cpu::named_barrier_sync;
using cuda_cpu::increase_registers;
using cuda_cpu::wgmma;
using cuda_cpu::wgmma_commit;
using cuda_cpu::wgmma_fence;
using cuda_cpu::wgmma_wait;

#else

// A barrier in shared memory. Each use of a barrier is called a phase, as in PTX. A phase completes when the number of
// arrivals that `barrier_init` sets is reached and all expected bytes have been copied. The parities of successive
// phases are 0, 1, 0, 1 and so on.
struct __align__(8) Barrier { uint64_t state; };

__device__ __forceinline__ uint32_t smem_address(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Initializes a barrier. Only one thread may call this function. `fence_barrier_init` and `__syncthreads` must follow
// before any other use of the barrier.
__device__ __forceinline__ void barrier_init(Barrier *barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(barrier)), "r"(arrivals) : "memory");
}
// Makes the barriers that this thread initialized visible to asynchronous copies.
__device__ __forceinline__ void fence_barrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;\n fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(Barrier *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_address(barrier)) : "memory");
}
// Arrives, and adds `bytes` to the bytes that the phase expects.
__device__ __forceinline__ void barrier_expect(Barrier *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(barrier)), "r"(bytes)
                 : "memory");
}
// Waits until the phase with this parity completes: the current or the preceding one.
__device__ __forceinline__ void barrier_wait(Barrier *barrier, int parity) {
    asm volatile("{\n .reg .pred over;\n"
                 "wait: mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
                 "@over bra done;\n bra wait;\n done:\n}" ::"r"(smem_address(barrier)), "r"(parity) : "memory");
}

// Starts a copy of `bytes` bytes to shared memory. The barrier counts the copied bytes. Addresses and `bytes` must be
// multiples of 16.
__device__ __forceinline__ void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(smem_address(to)), "l"(from), "r"(bytes), "r"(smem_address(barrier)) : "memory");
}

// Makes this thread's writes to shared memory visible to `wgmma` after a barrier.
__device__ __forceinline__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Synchronizes the `THREADS` threads that use the named barrier `NUMBER`, 1 to 15.
template <int NUMBER, int THREADS> __device__ __forceinline__ void named_barrier_sync() {
    asm volatile("bar.sync %0, %1;" ::"n"(NUMBER), "n"(THREADS) : "memory");
}

// These two functions set the number of registers of each thread in the warpgroup to `N`, a multiple of 8. Registers
// that one warpgroup releases are available to the others.
template <int N> __device__ __forceinline__ void decrease_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> __device__ __forceinline__ void increase_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

// Returns the descriptor of `A` or `B` (see `wgmma`), stored in shared memory without swizzling. The matrix consists of
// core matrices of 8 rows by 16 bytes of the depth, stored row by row. `depth_stride` is the distance, in bytes, to the
// next core matrix along the depth, and `row_stride` to the next one along the rows.
__device__ __forceinline__ uint64_t matrix_descriptor(const void *start, int depth_stride, int row_stride) {
    const uint64_t address = smem_address(start) >> 4 & 0x3fff;
    return address | (uint64_t)(depth_stride >> 4 & 0x3fff) << 16 | (uint64_t)(row_stride >> 4 & 0x3fff) << 32;
}

// Required before the first `wgmma`, and between any other access to the sums and the next `wgmma`.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Commits the products started so far as a group.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all groups except the newest `N`.
template <int N> __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

#define FOUR(D, I) "+f"(D[I]), "+f"(D[(I) + 1]), "+f"(D[(I) + 2]), "+f"(D[(I) + 3])
#define SIXTEEN(D, I) FOUR(D, I), FOUR(D, (I) + 4), FOUR(D, (I) + 8), FOUR(D, (I) + 12)
#define WGMMA_32 \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define WGMMA_64 \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30," \
    "%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,"   \
    "%59,%60,%61,%62,%63}"

// D += A·Bᵀ, computed by four warps: 64 rows by `N` columns by 32 bytes of the depth. `a` is the descriptor of `A`
// (`[64, depth]`), and `b` is the descriptor of `B` (`[N, depth]`). For every eight columns, thread `t` holds four
// sums, as in `mma.sync`: in rows `t / 4 % 8` and `t / 4 % 8 + 8` of its warp's 16 rows, and in columns `t % 4 · 2` and
// `t % 4 · 2 + 1`.
template <class T, int N> __device__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b);

// The last operands are the scale of D (1 adds the product to D), the signs of A and B and, for 16-bit types, whether A
// and B are transposed.
#define WGMMA(T, N, SHAPE, TYPES, TRANSPOSED, LIST, A, B, ...)                                                      \
    template <> __device__ __forceinline__ void wgmma<T, N>(float (&d)[N / 2], uint64_t a, uint64_t b) {            \
        asm volatile("wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPES " " LIST ", " A ", " B ", 1, 1, 1" TRANSPOSED ";" \
                     : __VA_ARGS__                                                                                  \
                     : "l"(a), "l"(b));                                                                             \
    }
#define WGMMA_TYPE(T, DEPTH, TYPES, TRANSPOSED)                                                                     \
    WGMMA(T, 64, "m64n64" DEPTH, TYPES, TRANSPOSED, WGMMA_32, "%32", "%33", SIXTEEN(d, 0), SIXTEEN(d, 16))          \
    WGMMA(T, 128, "m64n128" DEPTH, TYPES, TRANSPOSED, WGMMA_64, "%64", "%65", SIXTEEN(d, 0), SIXTEEN(d, 16),        \
          SIXTEEN(d, 32), SIXTEEN(d, 48))
WGMMA_TYPE(__half, "k16", "f16.f16", ", 0, 0")
WGMMA_TYPE(__nv_bfloat16, "k16", "bf16.bf16", ", 0, 0")
WGMMA_TYPE(float, "k8", "tf32.tf32", "")
#undef WGMMA_TYPE
#undef WGMMA
#undef WGMMA_64
#undef WGMMA_32
#undef SIXTEEN
#undef FOUR
#endif
