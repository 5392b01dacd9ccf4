// Matrix products whose warps pass tiles to each other through a ring of buffers, as in the library's kernels for
// compute capability 9.0. The argument `fault` selects an error.
#include "hopper.cuh"

namespace {
/// A step multiplies `STEP_BYTES` bytes along the depth. The ring has `STAGES` stages.
constexpr int ROWS = 128, COLUMNS = 128, STEP_BYTES = 64, STAGES = 2;
/// The numbers of threads that multiply, of threads that pack, and of all threads. One more warp copies.
constexpr int CONSUMERS = 256, PACKERS = 128, THREADS = CONSUMERS + PACKERS + 32;
constexpr int CORE_MATRIX = 128, TILE = ROWS * STEP_BYTES;
/// The core matrices of A are stored row by row, those of B column by column.
constexpr int A_DEPTH_STRIDE = CORE_MATRIX, A_ROW_STRIDE = CORE_MATRIX * STEP_BYTES / 16;
constexpr int B_DEPTH_STRIDE = CORE_MATRIX * COLUMNS / 8, B_ROW_STRIDE = CORE_MATRIX;

enum Fault {
    NONE, NO_WAIT_FOR_FULL, NO_WAIT_FOR_EMPTY, NO_ARRIVAL, MISALIGNED, NO_FENCE, NO_WAIT_FOR_COPY, NO_SYNC_WARP,
    EXTRA_ARRIVAL, NOT_INITIALIZED, NO_WAIT_FOR_SUMS, WRONG_MATRIX, MISSING_THREAD, NO_WAIT_TO_COPY, NOT_READY,
    OUT_OF_BOUNDS, UNFINISHED_COPY, RELEASED_EARLY
};

/// The ring buffer. Each stage has a tile of `x`, the same tile packed into core matrices, and a tile of `w`.
///
/// The barrier `copied` completes when `raw` is filled, `packed` when `raw` may be overwritten, `full` when `a` and `b`
/// are filled, and `empty` when `a` and `b` may be overwritten.
struct Ring {
    unsigned char raw[STAGES][TILE], a[STAGES][TILE], b[STAGES][TILE];
    Barrier copied[STAGES], packed[STAGES], full[STAGES], empty[STAGES];
};

/// Copies tiles of `x`, which is `[depth, ROWS]`, and of `w`, which is already in the order of B's core matrices.
template <class T> __device__ void load_tiles(Ring *ring, const T *x, const T *w, int steps, int fault) {
    if (threadIdx.x % 32 != 0) return;
    for (int step = 0; step < steps; step++) {
        const int stage = step % STAGES, parity = step / STAGES & 1;
        if (fault != NO_WAIT_TO_COPY) barrier_wait(&ring->packed[stage], parity ^ 1);
        barrier_expect(&ring->copied[stage], TILE);
        const T *from = x + (size_t)step * (TILE / sizeof(T)) + (fault == MISALIGNED);
        const int bytes = fault == OUT_OF_BOUNDS && step == steps - 1 ? TILE + 16 : TILE;
        bulk_copy(ring->raw[stage], from, bytes, &ring->copied[stage]);
        barrier_wait(&ring->empty[stage], parity ^ 1);
        barrier_expect(&ring->full[stage], TILE);
        bulk_copy(ring->b[stage], w + (size_t)step * (TILE / sizeof(T)), TILE, &ring->full[stage]);
    }
    if (fault == EXTRA_ARRIVAL) {
        barrier_expect(&ring->copied[0], 16);
        barrier_arrive(&ring->copied[0]);
    }
    if (fault == UNFINISHED_COPY) {
        barrier_wait(&ring->empty[(steps - 1) % STAGES], (steps - 1) / STAGES & 1);
        barrier_expect(&ring->copied[0], 16);
        bulk_copy(ring->b[(steps - 1) % STAGES], x, 16, &ring->copied[0]);
    }
}

/// Packs the tiles of `x` into core matrices of A.
template <class T> __device__ void pack(Ring *ring, int steps, int fault) {
    const int row = threadIdx.x - CONSUMERS;
    for (int step = 0; step < steps; step++) {
        const int stage = step % STAGES, parity = step / STAGES & 1;
        if (fault != NO_WAIT_FOR_COPY) barrier_wait(&ring->copied[stage], parity);
        if (fault != NO_WAIT_FOR_EMPTY) barrier_wait(&ring->empty[stage], parity ^ 1);
        const T *raw = reinterpret_cast<const T *>(ring->raw[stage]);
        for (int k = 0; k < STEP_BYTES / (int)sizeof(T); k++) {
            const int depth = k * sizeof(T);
            const int offset = row / 8 * A_ROW_STRIDE + depth / 16 * A_DEPTH_STRIDE + row % 8 * 16 + depth % 16;
            *reinterpret_cast<T *>(ring->a[stage] + offset) = raw[k * ROWS + row];
        }
        if (fault != NO_SYNC_WARP) __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(&ring->packed[stage]);
        if (fault != NO_FENCE) fence_async_proxy();
        if (fault != MISSING_THREAD || row != 5) named_barrier_sync<1, PACKERS>();
        if (row == 0) barrier_arrive(&ring->full[stage]);
    }
}

/// Multiplies the packed tiles and stores the product in `y`.
template <class T> __device__ void multiply(Ring *ring, float *y, int steps, int fault) {
    const int group = threadIdx.x / 128, t = threadIdx.x % 128;
    float sums[COLUMNS / 2] = {};
    for (int step = 0; step < steps; step++) {
        const int stage = step % STAGES, parity = step / STAGES & 1;
        if (fault != NO_WAIT_FOR_FULL) barrier_wait(&ring->full[stage], parity);
        wgmma_fence();
        for (int k = 0; k < STEP_BYTES / 32; k++) {
            const int wrong = fault == WRONG_MATRIX && t == 77;
            wgmma<T, COLUMNS>(sums,
                              matrix_descriptor(ring->a[stage] + group * 8 * A_ROW_STRIDE + k * 2 * A_DEPTH_STRIDE,
                                                A_DEPTH_STRIDE, A_ROW_STRIDE),
                              matrix_descriptor(ring->b[wrong ? 0 : stage] + k * 2 * B_DEPTH_STRIDE, B_DEPTH_STRIDE,
                                                B_ROW_STRIDE));
        }
        wgmma_commit();
        if (fault == RELEASED_EARLY && t == 0) barrier_arrive(&ring->empty[stage]);
        if (fault != NO_WAIT_FOR_SUMS || step < steps - 1) wgmma_wait<0>();
        if (fault != RELEASED_EARLY && fault != NO_ARRIVAL && t == 0) barrier_arrive(&ring->empty[stage]);
    }
    const int row = group * 64 + t / 32 * 16 + t % 32 / 4;
    for (int i = 0; i < COLUMNS / 2; i++)
        y[(row + i / 2 % 2 * 8) * COLUMNS + i / 4 * 8 + t % 4 * 2 + i % 2] = sums[i];
    if (fault == NO_WAIT_FOR_SUMS) wgmma_wait<0>();
}

/// Computes `y` = `x`ᵀ·`w`.
template <class T> __device__ void ring_product(const T *x, const T *w, float *y, int steps, int fault) {
    DYN_SHARED(Ring, ring);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            if (fault != NOT_INITIALIZED) barrier_init(&ring->copied[i], 1);
            barrier_init(&ring->packed[i], PACKERS / 32);
            barrier_init(&ring->full[i], 2);
            barrier_init(&ring->empty[i], CONSUMERS / 128);
        }
        if (fault != NOT_READY) fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x < CONSUMERS) {
        increase_registers<160>();
        multiply<T>(ring, y, steps, fault);
    } else {
        decrease_registers<40>();
        if (threadIdx.x < CONSUMERS + PACKERS) pack<T>(ring, steps, fault);
        else load_tiles(ring, x, w, steps, fault);
    }
}
}  // namespace

#define CHECK_RING(name, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const T *x, const T *w, float *y, int steps, int fault) { \
        ring_product(x, w, y, steps, fault);                                                                             \
    }                                                                                                                    \
    EXPORT_KERNEL(name)
CHECK_RING(check_ring_f16, __half)
CHECK_RING(check_ring_bf16, __nv_bfloat16)
CHECK_RING(check_ring_tf32, float)
