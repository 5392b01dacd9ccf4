// Bringing the weight [group_outputs, depth] to shared memory, for `conv_matrix.cuh`.
#pragma once
#include "../../../cuda/element.cuh"
#include "../../../cuda/mma.cuh"

// One block's view of the weight: [channels of the tile, depth].
template <class T> struct WeightRows {
    const T *rows;
    int channels, depth;
};

template <int BYTES> __device__ __forceinline__ void copy_async(void *to, const void *from, bool valid) {
    if constexpr (BYTES == 16) cp_async16(to, from, valid);
    else if constexpr (BYTES == 8) cp_async8(to, from, valid);
    else cp_async4(to, from, valid);
}

// Brings STEP columns of the weight from `k` on to a stage, BYTES at a time.
template <class Tile, int BYTES>
__device__ __forceinline__ void copy_weight(const WeightRows<typename Tile::T> &w, int k, typename Tile::T *to) {
    using T = typename Tile::T;
    constexpr int EACH = BYTES / sizeof(T), PARTS = Tile::STEP / EACH;
    constexpr int COPIES = Tile::CHANNELS * PARTS / Tile::THREADS;
    static_assert(Tile::THREADS % PARTS == 0 && COPIES * Tile::THREADS == Tile::CHANNELS * PARTS, "no rest");
    const int column = threadIdx.x % PARTS * EACH;
#pragma unroll(COPIES <= 4 ? COPIES : 1)
    for (int i = 0; i < COPIES; i++) {
        const int row = threadIdx.x / PARTS + i * (Tile::THREADS / PARTS);
        const bool valid = row < w.channels && k + column < w.depth;
        T *place = to + row * Tile::WEIGHT_ROW + column;
        if constexpr (BYTES >= 4) {
            copy_async<BYTES>(place, valid ? w.rows + row * w.depth + k + column : w.rows, valid);
        } else {
            *place = valid ? w.rows[row * w.depth + k + column] : narrow<T>(0.f);
        }
    }
}

// The same, by the widest copies that every channel's row is aligned to.
template <class Tile>
__device__ __forceinline__ void copy_weight(const WeightRows<typename Tile::T> &w, int k, typename Tile::T *to) {
    const int row_bytes = w.depth * (int)sizeof(typename Tile::T);
    if (row_bytes % 16 == 0) return copy_weight<Tile, 16>(w, k, to);
    if constexpr (Tile::HALF) {
        if (row_bytes % 8 == 0) return copy_weight<Tile, 8>(w, k, to);
        if (row_bytes % 4 == 0) return copy_weight<Tile, 4>(w, k, to);
        return copy_weight<Tile, 2>(w, k, to);
    }
    copy_weight<Tile, 4>(w, k, to);
}
