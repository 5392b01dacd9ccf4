// Copies the weight to shared memory, for `conv_matrix.cuh`.
#pragma once
#include "../../../cuda/element.cuh"
#include "../../../cuda/mma.cuh"

// The weight of the output channels of a block's tile, [channels, length].
template <class T> struct WeightRows {
    const T *rows;
    int channels, length;
};

template <int BYTES> __device__ __forceinline__ void copy_async(void *to, const void *from, bool valid) {
    if constexpr (BYTES == 16) cp_async16(to, from, valid);
    else if constexpr (BYTES == 8) cp_async8(to, from, valid);
    else cp_async4(to, from, valid);
}

// Copies the columns `k..k + STEP` of the weight to a stage, BYTES at a time.
template <class Tile, int BYTES>
__device__ __forceinline__ void copy_weight(const WeightRows<typename Tile::T> &w, int k, typename Tile::T *to) {
    using T = typename Tile::T;
    constexpr int PER_COPY = BYTES / sizeof(T), PARTS = Tile::STEP / PER_COPY;
    constexpr int COPIES = Tile::CHANNELS * PARTS / Tile::THREADS;
    static_assert(Tile::THREADS % PARTS == 0 && COPIES * Tile::THREADS == Tile::CHANNELS * PARTS,
                  "all threads make equally many copies");
    const int column = threadIdx.x % PARTS * PER_COPY;
#pragma unroll(COPIES <= 4 ? COPIES : 1)
    for (int i = 0; i < COPIES; i++) {
        const int row = threadIdx.x / PARTS + i * (Tile::THREADS / PARTS);
        const bool valid = row < w.channels && k + column < w.length;
        const T *from = valid ? w.rows + row * w.length + k + column : w.rows;
        copy_async<BYTES>(to + row * Tile::WEIGHT_ROW + column, from, valid);
    }
}

// Copies the columns `k..k + STEP` of the weight with the widest copies for which every row is aligned. Rows are
// multiples of 4 bytes, because `pad_rows` in `conv_pack.cu` has padded those with an odd number of 2-byte elements.
template <class Tile>
__device__ __forceinline__ void copy_weight(const WeightRows<typename Tile::T> &w, int k, typename Tile::T *to) {
    const int row_bytes = w.length * (int)sizeof(typename Tile::T);
    if (row_bytes % 16 == 0) return copy_weight<Tile, 16>(w, k, to);
    if (Tile::HALF && row_bytes % 8 == 0) return copy_weight<Tile, 8>(w, k, to);
    copy_weight<Tile, 4>(w, k, to);
}
