// Copies the input to the stages. The threads after the first MULTIPLIERS (the LOADERS) transpose runs of pixels: they
// read along the pixels and write along the channels, 16 bytes of a pixel's channels (a channel vector) at a time.
//
// An item is the part of a chunk that a thread copies at once: one run of pixels, in one or several channel vectors. In
// each round, every loader copies one item.
#pragma once
#include "../../../../cuda/element.cuh"
#include "../../../../cuda/mma.cuh"
#include "staged.cuh"

// Rounds an f32 operand to TF32. Returns other types unchanged.
template <class T> __device__ __forceinline__ T round_operand(T value) { return value; }
template <> __device__ __forceinline__ float round_operand<float>(float value) {
    return __uint_as_float(to_tf32(value));
}

// An item in registers: RUN_PIXELS neighboring pixels of CHANNELS channels.
template <class Stages, int RUN_PIXELS> struct TransposedRun {
    using T = typename Stages::T;
    static constexpr int VECTOR_CHANNELS = Stages::VECTOR_CHANNELS;
    static constexpr bool HALF = sizeof(T) == 2;
    // The number of 4-byte words of a run in one channel.
    static constexpr int WORDS = RUN_PIXELS * sizeof(T) > 4 ? RUN_PIXELS * sizeof(T) / 4 : 1;
    static constexpr int CHANNELS = 16 / WORDS, VECTORS = CHANNELS / VECTOR_CHANNELS;

    uint32_t words[CHANNELS][WORDS];
    // The position of the first pixel in the stage, or -RUN_PIXELS if there is nothing to write.
    int position = -RUN_PIXELS;
    int first_vector;  // the index in the chunk of the item's first channel vector

    // Reads item `item` of a chunk, which has `runs` runs. `input` is the first channel of the chunk. `channels` is the
    // number of the group's channels from this channel on; any further channels are read as zeros.
    __device__ __forceinline__ void read(const Stages &stages, const T *input, int item, int runs, int channels,
                                         int plane) {
        position = -RUN_PIXELS;
        if (item >= runs * (Stages::CHUNK_VECTORS / VECTORS)) return;
        first_vector = item / runs * VECTORS;
        const PixelRun run = stages.runs[item % runs];
        if (run.from < 0) return;
        position = run.position;
        const T *from = input + run.from + (size_t)first_vector * VECTOR_CHANNELS * plane;
        const int left = channels - first_vector * VECTOR_CHANNELS;
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            read_words(from, i < left, words[i]);
            from += plane;
        }
    }

    static __device__ __forceinline__ void read_words(const T *from, bool inside, uint32_t (&to)[WORDS]) {
        if constexpr (RUN_PIXELS * sizeof(T) == 2) {
            to[0] = inside ? *reinterpret_cast<const uint16_t *>(from) : 0;
        } else {
            Vector<uint32_t, WORDS> vector{};
            if (inside) vector = load_vector<WORDS>(reinterpret_cast<const uint32_t *>(from));
#pragma unroll
            for (int i = 0; i < WORDS; i++) to[i] = vector.at[i];
        }
    }

    // Writes the item to a stage. Neighboring threads have neighboring runs. Each writes its pixels in the order
    // `j ^ first`, so that the threads begin with different pixels and eight threads write to different banks.
    __device__ __forceinline__ void write(const Stages &stages, unsigned char *stage) {
        const int first = threadIdx.x % 32 * RUN_PIXELS / 8 % RUN_PIXELS;
#pragma unroll
        for (int bit = HALF ? 2 : 1; bit < RUN_PIXELS; bit *= 2)
            if (first & bit) swap_words(HALF ? bit / 2 : bit);
#pragma unroll
        for (int j = 0; j < RUN_PIXELS; j++) {
            // A run may begin before the tile's first position or extend beyond its last. A run of several pixels
            // occurs only with a single phase, so these pixels cannot have a position in another phase.
            const int at = position + (j ^ first);
            if ((unsigned)at >= (unsigned)stages.positions) continue;
#pragma unroll
            for (int c = 0; c < VECTORS; c++) {
                Vector<uint32_t, 4> vector;
#pragma unroll
                for (int i = 0; i < 4; i++)
                    vector.at[i] = word(c * VECTOR_CHANNELS + i * (VECTOR_CHANNELS / 4), j, first);
                const int to = ((first_vector + c) * stages.positions + at) * 16;
                store_vector(reinterpret_cast<uint32_t *>(stage + to), vector);
            }
        }
    }

    // Swaps the words w and w | distance of each channel. After all swaps, word j (j / 2 for 2-byte types) of each
    // thread holds the pixel `j ^ first`, so the code indexes the registers with constants.
    __device__ __forceinline__ void swap_words(int distance) {
#pragma unroll
        for (int i = 0; i < CHANNELS; i++)
#pragma unroll
            for (int w = 0; w < WORDS; w++)
                if (!(w & distance)) {
                    const uint32_t other = words[i][w | distance];
                    words[i][w | distance] = words[i][w], words[i][w] = other;
                }
    }

    // Returns 4 bytes of pixel `j ^ first`: the value of `channel`, or the 2-byte values of `channel` and
    // `channel + 1`.
    __device__ __forceinline__ uint32_t word(int channel, int j, int first) const {
        if constexpr (HALF) {
            const uint32_t halves = (j ^ first) % 2 ? 0x7632 : 0x5410;
            return __byte_perm(words[channel][j / 2], words[channel + 1][j / 2], halves);
        } else {
            return __float_as_uint(round_operand(__uint_as_float(words[channel][j])));
        }
    }
};

// Loads all chunks of the input. A thread starts to read its next item, which may be of the next chunk, before it
// writes the current one.
template <class Stages, int RUN_PIXELS>
__device__ __forceinline__ void load_by_runs(const Stages &stages, const PaddedLayout &p,
                                             const typename Stages::T *input, int channels, int plane) {
    using Item = TransposedRun<Stages, RUN_PIXELS>;
    const int runs = p.phases * p.rows * p.runs_per_row;
    // At least one round per chunk, because the barriers must complete even if there is only padding.
    const int items = runs * (Stages::CHUNK_VECTORS / Item::VECTORS);
    const int rounds = max(1, (items + Stages::LOADERS - 1) / Stages::LOADERS);
    const int total = rounds * p.chunks;
    Ring<Stages::INPUT_STAGES> ring;
    int ahead = 0, ahead_chunk = 0;  // the next round to read, and its chunk
    int round = 0;                   // the next round to write
    const auto read = [&](Item &item) {
        if (ahead_chunk == p.chunks) return;
        const int first = ahead_chunk * Stages::CHUNK;
        item.read(stages, input + (size_t)first * plane, ahead * Stages::LOADERS + threadIdx.x - Stages::MULTIPLIERS,
                  runs, channels - first, plane);
        if (++ahead == rounds) ahead = 0, ahead_chunk++;
    };
    const auto write = [&](Item &item) {
        if (round == 0) barrier_wait(&stages.barriers->input_free[ring.stage], ring.parity ^ 1);
        item.write(stages, stages.input(ring.stage));
        if (++round < rounds) return;
        fence_async_proxy();
        barrier_arrive(&stages.barriers->input_full[ring.stage]);
        round = 0, ring.next();
    };
    Item even, odd;
    read(even);
    for (int i = 0; i < total; i += 2) {
        read(odd);
        write(even);
        if (i + 1 == total) break;
        read(even);
        write(odd);
    }
}

template <class Stages>
__device__ __forceinline__ void load_inputs(const Stages &stages, const PaddedLayout &p,
                                            const typename Stages::T *input, int channels, int plane) {
    switch (p.run_pixels) {
        case 4: return load_by_runs<Stages, 4>(stages, p, input, channels, plane);
        case 2: return load_by_runs<Stages, 2>(stages, p, input, channels, plane);
        default: return load_by_runs<Stages, 1>(stages, p, input, channels, plane);
    }
}
