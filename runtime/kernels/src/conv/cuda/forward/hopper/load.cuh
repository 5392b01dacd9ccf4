// The input's way into the stages: the work of a block's LOADERS. They turn runs of pixels over: read along the pixels,
// and write along the channels, 16 bytes of each pixel's at a time.
#pragma once
#include "../../../../cuda/element.cuh"
#include "../../../../cuda/mma.cuh"
#include "staged.cuh"

// What tensor cores shall see of a value.
template <class T> __device__ __forceinline__ T round_operand(T value) { return value; }
template <> __device__ __forceinline__ float round_operand<float>(float value) { return __uint_as_float(to_tf32(value)); }

// A run of RUN pixels, as many channels of it at a time as there are registers for.
template <class Stages, int RUN> struct TransposedRun {
    using T = typename Stages::T;
    static constexpr int COLUMN_CHANNELS = Stages::COLUMN_CHANNELS;
    static constexpr bool HALF = sizeof(T) == 2;
    static constexpr int WORDS = RUN * sizeof(T) > 4 ? RUN * sizeof(T) / 4 : 1;  // of a channel
    static constexpr int CHANNELS = 16 / WORDS, COLUMNS = CHANNELS / COLUMN_CHANNELS;

    uint32_t words[CHANNELS][WORDS];
    int position = -RUN;  // of the first pixel; of none, where there is nothing to write
    int column;

    // The item of number `item` of those of a chunk, whose first channel is at `input`.
    __device__ __forceinline__ void read(const Stages &stages, const T *input, int item, int runs, int channels,
                                         int plane) {
        position = -RUN;
        if (item >= runs * (Stages::COLUMNS / COLUMNS)) return;
        column = item / runs * COLUMNS;
        const PixelRun run = stages.runs[item % runs];
        if (run.from < 0) return;
        position = run.position;
        const T *from = input + run.from + (size_t)column * COLUMN_CHANNELS * plane;
        const int left = channels - column * COLUMN_CHANNELS;
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            read_words(from, i < left, words[i]);
            from += plane;
        }
    }

    static __device__ __forceinline__ void read_words(const T *from, bool inside, uint32_t (&to)[WORDS]) {
        if constexpr (RUN * sizeof(T) == 2) {
            to[0] = inside ? *reinterpret_cast<const uint16_t *>(from) : 0;
        } else {
            Vector<uint32_t, WORDS> together{};
            if (inside) together = load_vector<WORDS>(reinterpret_cast<const uint32_t *>(from));
#pragma unroll
            for (int i = 0; i < WORDS; i++) to[i] = together.at[i];
        }
    }

    // Neighbouring threads have neighbouring runs. They begin with different pixels of theirs, so that each eight of
    // them write to different banks.
    __device__ __forceinline__ void write(const Stages &stages, unsigned char *stage) {
        const int first = threadIdx.x % 32 * RUN / 8 % RUN;
#pragma unroll
        for (int bit = HALF ? 2 : 1; bit < RUN; bit *= 2)
            if (first & bit) swap_words(HALF ? bit / 2 : bit);
#pragma unroll
        for (int j = 0; j < RUN; j++) {
            // Runs of several pixels have one phase alone, so that what is cut off lies outside of all places.
            const int at = position + (j ^ first);
            if ((unsigned)at >= (unsigned)stages.positions) continue;
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                Vector<uint32_t, 4> together;
#pragma unroll
                for (int i = 0; i < 4; i++) together.at[i] = word(c * COLUMN_CHANNELS + i * (COLUMN_CHANNELS / 4), j, first);
                store_vector(reinterpret_cast<uint32_t *>(stage + ((column + c) * stages.positions + at) * 16), together);
            }
        }
    }

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

    // 4 bytes of what is written for the pixel of number `j ^ first`: of one channel, or of two.
    __device__ __forceinline__ uint32_t word(int channel, int j, int first) const {
        if constexpr (HALF) {
            const uint32_t halves = (j ^ first) % 2 ? 0x7632 : 0x5410;
            return __byte_perm(words[channel][j / 2], words[channel + 1][j / 2], halves);
        } else {
            return __float_as_uint(round_operand(__uint_as_float(words[channel][j])));
        }
    }
};

// While one item is written the next one is on its way, be it of the next chunk.
template <class Stages, int RUN>
__device__ __forceinline__ void load_by_runs(const Stages &stages, const PaddedLayout &p, const typename Stages::T *input,
                                             int channels, int plane) {
    using Item = TransposedRun<Stages, RUN>;
    const int runs = p.phases * p.rows * p.runs_across;
    // One at least: even where there is nothing but padding, the stage has to be handed on.
    const int items = runs * (Stages::COLUMNS / Item::COLUMNS);
    const int rounds = max(1, (items + Stages::LOADERS - 1) / Stages::LOADERS);
    const int total = rounds * p.chunks;
    Ring<Stages::INPUTS> ring;
    int ahead = 0, ahead_chunk = 0, round = 0;  // the next round that is read, and the one that is written
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
__device__ __forceinline__ void load_inputs(const Stages &stages, const PaddedLayout &p, const typename Stages::T *input,
                                            int channels, int plane) {
    switch (p.run) {
        case 4: return load_by_runs<Stages, 4>(stages, p, input, channels, plane);
        case 2: return load_by_runs<Stages, 2>(stages, p, input, channels, plane);
        default: return load_by_runs<Stages, 1>(stages, p, input, channels, plane);
    }
}
