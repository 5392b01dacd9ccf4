// What compute capability 9.0 has beyond 8.0 (`sm_90a`): matrix products by four warps at once that read both factors
// from shared memory, copies by the block, and barriers in shared memory that count both. Thin names for PTX.
#pragma once
#include "portable.cuh"

#ifdef CUDA_CPU_EMU
// The same by the documented layouts: tests/cuda/emu/hopper.h.
using cuda_cpu::Barrier;
using cuda_cpu::barrier_arrive;
using cuda_cpu::barrier_expect;
using cuda_cpu::barrier_init;
using cuda_cpu::barrier_wait;
using cuda_cpu::barriers_ready;
using cuda_cpu::bulk_copy;
using cuda_cpu::fence_for_async;
using cuda_cpu::give_registers;
using cuda_cpu::matrix_of;
using cuda_cpu::sync_threads_of;
using cuda_cpu::take_registers;
using cuda_cpu::wgmma;
using cuda_cpu::wgmma_commit;
using cuda_cpu::wgmma_fence;
using cuda_cpu::wgmma_wait;

#else

/// A barrier in shared memory: a phase of it is over when so many threads have arrived as it was made for, and all
/// bytes that they expect have landed. Phases count 0, 1, 0, 1...
struct __align__(8) Barrier { uint64_t state; };

__device__ __forceinline__ uint32_t shared_place(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// By one thread, before any other touches it: `barriers_ready` and then `__syncthreads` come between.
__device__ __forceinline__ void barrier_init(Barrier *barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_place(barrier)), "r"(arrivals) : "memory");
}
/// Shows the barriers that this thread made to the copies as well.
__device__ __forceinline__ void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;\n fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(Barrier *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_place(barrier)) : "memory");
}
/// Arrives, and lets the phase wait for `bytes` more.
__device__ __forceinline__ void barrier_expect(Barrier *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_place(barrier)), "r"(bytes)
                 : "memory");
}
/// Waits until the phase of that parity is over.
__device__ __forceinline__ void barrier_wait(Barrier *barrier, int parity) {
    asm volatile("{\n .reg .pred over;\n"
                 "wait: mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
                 "@over bra done;\n bra wait;\n done:\n}" ::"r"(shared_place(barrier)), "r"(parity) : "memory");
}

/// Copies `bytes`, a multiple of 16, to shared memory, and tells the barrier. Both addresses are multiples of 16.
__device__ __forceinline__ void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared_place(to)), "l"(from), "r"(bytes), "r"(shared_place(barrier)) : "memory");
}

/// What this thread wrote to shared memory may, after a barrier, be read by `wgmma`.
__device__ __forceinline__ void fence_for_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// `__syncthreads` among `THREADS` threads that use the barrier of that number, of 1 to 15.
template <int NUMBER, int THREADS> __device__ __forceinline__ void sync_threads_of() {
    asm volatile("bar.sync %0, %1;" ::"n"(NUMBER), "n"(THREADS) : "memory");
}

/// Registers a thread, a multiple of 8: those that one warpgroup gives, others take.
template <int N> __device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> __device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/// A factor of `wgmma` in shared memory without swizzling. It is made of bricks, 8 rows by 16 bytes of the depth, row
/// after row; `deeper` bytes further the next one along the depth, `further` bytes further the next 8 rows.
__device__ __forceinline__ uint64_t matrix_of(const void *start, int deeper, int further) {
    const uint64_t place = shared_place(start) >> 4 & 0x3fff;
    return place | (uint64_t)(deeper >> 4 & 0x3fff) << 16 | (uint64_t)(further >> 4 & 0x3fff) << 32;
}

/// Comes before the first `wgmma` of a row of them, and between any other use of its sums and the next.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Ends a group of products.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits for all groups but the newest `N`.
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

/// D += A·B over four warps, of 64 rows by `N` columns by 32 bytes of the depth, `A` of `[64, depth]`, `B` of
/// `[N, depth]`, both as `matrix_of` says. Thread `t` holds, for each eight columns, four sums as `mma.sync` does: rows
/// `t / 4 % 8` and 8 more of its warp's 16, columns `t % 4 · 2` and one more.
template <class T, int N> __device__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b);

// The last operands: scales of A·B, A, B; and for 16-bit types whether a factor lies transposed.
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
