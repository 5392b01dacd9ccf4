// Convolution as an implicit matrix product on tensor cores, by `mma.sync`: TF32 (of f32 operands), f16 and bf16,
// all summed in f32.
//
// A ring of stages in shared memory is filled asynchronously while earlier stages are multiplied. The weight
// comes in 16-byte copies along the depth. The input comes in one of two ways: DENSE, where every output pixel
// is an input pixel (1×1, stride 1), in copies of four pixels; else gathered, one element at a time, a thread
// keeping its pixel and reading the rows' taps from shared memory. 4-byte elements are gathered by asynchronous
// copies as well. There are no such copies of 2 bytes: those elements wait in registers while a stage is
// multiplied, two pixels side by side, and are stored as one word.
#pragma once
#include "../../../cuda/mma.cuh"
#include "finish.cuh"
#include "gather.cuh"
#include "tiles.cuh"

// A block's tile of CHANNELS × PIXELS, of which each of its WARPS_DOWN × WARPS_ACROSS warps has an equal part.
template <class Element, int CHANNELS_, int PIXELS_, int WARPS_DOWN_, int WARPS_ACROSS_, bool DENSE_>
struct MatrixTile {
    using T = Element;
    static constexpr int CHANNELS = CHANNELS_, PIXELS = PIXELS_;
    static constexpr bool DENSE = DENSE_, HALF = sizeof(T) == 2;
    static constexpr int STAGES = 3;
    static constexpr int STEP = 64 / sizeof(T);  // the rows in one stage: 64 bytes of each channel's weight
    static constexpr int THREADS = WARPS_DOWN_ * WARPS_ACROSS_ * 32;
    static constexpr int WARPS_ACROSS = WARPS_ACROSS_;
    static constexpr int WARP_CHANNELS = CHANNELS / WARPS_DOWN_, WARP_PIXELS = PIXELS / WARPS_ACROSS_;
    // Accumulators are 16×8 fragments, four values a lane.
    static constexpr int TALL = WARP_CHANNELS / 16, WIDE = WARP_PIXELS / 8;
    // Rows are padded so that the eight rows which a warp reads at once lie in different banks.
    static constexpr int WEIGHT_ROW = STEP + 16 / sizeof(T), INPUT_ROW = PIXELS + 8;
    static_assert(WIDE % 2 == 0 && THREADS % PIXELS * (HALF ? 0 : 1) == 0 && THREADS % (PIXELS / 2) == 0, "no rest");

    struct __align__(16) Stage {
        T weight[CHANNELS * WEIGHT_ROW];
        T input[STEP * INPUT_ROW];
    };
    union Memory {
        struct { Stage stages[STAGES]; Tap taps[STAGES][STEP]; } loop;
        float sums[WARP_CHANNELS * (PIXELS + FINISH_PAD)];  // one row of warps at a time, on its way out
    };
};

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

// Brings rows of the input matrix to a stage. `begin` sets off what can go on by itself; `end`, after the
// multiplication in between, stores what had to wait in registers.
template <class Tile, bool DENSE = Tile::DENSE, bool HALF = Tile::HALF> struct InputRows;

// 1×1, stride 1, no padding, planes of a multiple of four pixels: four at a time.
template <class Tile, bool HALF> struct InputRows<Tile, true, HALF> {
    using T = typename Tile::T;
    static constexpr int EACH = 4, PARTS = Tile::PIXELS / EACH, COPIES = Tile::STEP * PARTS / Tile::THREADS;
    static_assert(COPIES * Tile::THREADS == Tile::STEP * PARTS, "no rest");
    const T *pixels;  // in the group's first channel
    int row, column;
    bool exists;

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : pixels(input), row(threadIdx.x / PARTS), column(threadIdx.x % PARTS * EACH), exists(n + column < s.pixels) {
        const int image = (n + column) / s.plane;
        const size_t channel = (size_t)image * s.in_channels + (size_t)group * s.group_inputs;
        if (exists) pixels += channel * s.plane + (n + column - image * s.plane);
    }
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *input, const Tap *, int k, T *to) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int r = row + i * (Tile::THREADS / PARTS);
            const bool valid = exists && k + r < s.depth;
            const T *from = valid ? pixels + (k + r) * s.plane : input;
            copy_async<EACH * sizeof(T)>(to + r * Tile::INPUT_ROW + column, from, valid);
        }
    }
    __device__ __forceinline__ void end(T *) {}
};

// Elements of 4 bytes: a thread copies several rows of one pixel.
template <class Tile> struct InputRows<Tile, false, false> {
    using T = typename Tile::T;
    static constexpr int ROWS = Tile::STEP * Tile::PIXELS / Tile::THREADS, APART = Tile::THREADS / Tile::PIXELS;
    Pixel<T> pixel;

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : pixel(input, s, group, n + threadIdx.x % Tile::PIXELS) {}
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *input, const Tap *taps, int, T *to) {
        const int column = threadIdx.x % Tile::PIXELS, row = threadIdx.x / Tile::PIXELS;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const Tap tap = taps[row + i * APART];
            const bool valid = pixel.meets(tap, s);
            cp_async4(to + (row + i * APART) * Tile::INPUT_ROW + column, valid ? pixel.at(tap) : input, valid);
        }
    }
    __device__ __forceinline__ void end(T *) {}
};

// Elements of 2 bytes: a thread holds several rows of two neighbouring pixels.
template <class Tile> struct InputRows<Tile, false, true> {
    using T = typename Tile::T;
    static constexpr int PAIRS = Tile::PIXELS / 2, ROWS = Tile::STEP * PAIRS / Tile::THREADS;
    static constexpr int APART = Tile::THREADS / PAIRS;
    Pixel<T> left, right;
    Vector<T, 2> held[ROWS];

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : left(input, s, group, n + threadIdx.x % PAIRS * 2), right(input, s, group, n + threadIdx.x % PAIRS * 2 + 1) {}
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *, const Tap *taps, int, T *) {
        const T zero = narrow<T>(0.f);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const Tap tap = taps[threadIdx.x / PAIRS + i * APART];
            held[i].at[0] = left.meets(tap, s) ? *left.at(tap) : zero;
            held[i].at[1] = right.meets(tap, s) ? *right.at(tap) : zero;
        }
    }
    __device__ __forceinline__ void end(T *to) {
        const int column = threadIdx.x % PAIRS * 2, row = threadIdx.x / PAIRS;
#pragma unroll
        for (int i = 0; i < ROWS; i++) store_vector(to + (row + i * APART) * Tile::INPUT_ROW + column, held[i]);
    }
};

// Adds one stage's product to a warp's accumulators. `channel` and `pixel` are the warp's first in the tile.
template <class Tile>
__device__ __forceinline__ void multiply(const typename Tile::Stage &stage, int channel, int pixel,
                                         float (&sums)[Tile::TALL][Tile::WIDE][4]) {
    // A fragment of the weight is four matrices of 8 rows by 16 bytes, and lanes 0-7, 8-15, 16-23, 24-31 name the
    // rows of one each: channels 0-7, 8-15, and the same 16 bytes further along the depth.
    constexpr int DEEP = Tile::HALF ? 16 : 8, ACROSS = DEEP / 2;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < Tile::STEP; k += DEEP) {
        uint32_t a[Tile::TALL][4], b[Tile::WIDE][2];
#pragma unroll
        for (int i = 0; i < Tile::TALL; i++) {
            const int row = channel + i * 16 + lane % 16;
            ldmatrix_x4(a[i], &stage.weight[row * Tile::WEIGHT_ROW + k + lane / 16 * ACROSS]);
        }
        if constexpr (Tile::HALF) {
            // Transposed: matrices of 8 rows of the depth by 8 pixels; two fragments of 16×8 at a time.
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j += 2) {
                uint32_t two[4];
                ldmatrix_x4_trans(two, &stage.input[(k + lane % 16) * Tile::INPUT_ROW + pixel + j * 8 + lane / 16 * 8]);
                b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
            }
        } else {
#pragma unroll
            for (int i = 0; i < Tile::TALL; i++)
#pragma unroll
                for (int r = 0; r < 4; r++) a[i][r] = to_tf32(__uint_as_float(a[i][r]));
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) {
                const auto *column = &stage.input[(k + lane % 4) * Tile::INPUT_ROW + pixel + j * 8 + lane / 4];
                b[j][0] = to_tf32(column[0]);
                b[j][1] = to_tf32(column[4 * Tile::INPUT_ROW]);
            }
        }
#pragma unroll
        for (int i = 0; i < Tile::TALL; i++)
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) {
                if constexpr (Tile::HALF) mma_half<typename Tile::T>(sums[i][j], a[i], b[j]);
                else mma_tf32(sums[i][j], a[i], b[j]);
            }
    }
}

template <class Tile>
__device__ __forceinline__ void convolve(const typename Tile::T *__restrict__ input,
                                         const typename Tile::T *__restrict__ weight,
                                         const Finish<typename Tile::T> &f, const ConvSizes &s, const Cut &cut) {
    using T = typename Tile::T;
    constexpr int STEP = Tile::STEP, STAGES = Tile::STAGES;
    DYN_SHARED(typename Tile::Memory, memory);
    auto &loop = memory->loop;

    const Place place(cut, Tile::CHANNELS, Tile::PIXELS);
    const int first = place.slice * cut.slice_steps;
    const int steps = min(cut.slice_steps, (s.depth + STEP - 1) / STEP - first);
    const size_t row = (size_t)place.group * s.group_outputs + place.channel;
    const WeightRows<T> weight_rows{weight + row * s.depth, s.group_outputs - place.channel, s.depth};
    InputRows<Tile> input_rows(input, s, place.group, place.pixel);

    // A ring of as many taps as stages: those of a step are written while the step before it is set off.
    const auto write_taps = [&](int step) {
        if (!Tile::DENSE && threadIdx.x < STEP)
            loop.taps[step % STAGES][threadIdx.x] = tap_at(s, (first + step) * STEP + threadIdx.x);
    };
    const auto begin = [&](int step) {
        auto &stage = loop.stages[step % STAGES];
        const int k = (first + step) * STEP;
        copy_weight<Tile>(weight_rows, k, stage.weight);
        input_rows.begin(s, input, loop.taps[step % STAGES], k, stage.input);
    };
    const auto end = [&](int step) { input_rows.end(loop.stages[step % STAGES].input); };

    const int warp = threadIdx.x / 32;
    const int warp_row = warp / Tile::WARPS_ACROSS;
    const int channel = warp_row * Tile::WARP_CHANNELS, pixel = warp % Tile::WARPS_ACROSS * Tile::WARP_PIXELS;
    float sums[Tile::TALL][Tile::WIDE][4] = {};

    for (int step = 0; step < STAGES; step++) write_taps(step);
    __syncthreads();
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) begin(step), end(step);
        cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        // This step's copies have landed, and everybody is done with the stage that is filled next.
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        const int next = step + STAGES - 1;
        if (next < steps) begin(next);
        cp_async_commit();
        write_taps(next + 1);
        multiply<Tile>(loop.stages[step % STAGES], channel, pixel, sums);
        if (next < steps) end(next);
    }
    cp_async_wait<0>();

    // One row of warps after the other lays its sums out in shared memory; all threads store them.
    const int lane = threadIdx.x % 32, start = place.group * s.group_outputs;
#pragma unroll 1
    for (int pass = 0; pass < Tile::CHANNELS / Tile::WARP_CHANNELS; pass++) {
        __syncthreads();
        if (pass == warp_row) {
#pragma unroll
            for (int i = 0; i < Tile::TALL; i++)
#pragma unroll
                for (int j = 0; j < Tile::WIDE; j++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const int r = i * 16 + h * 8 + lane / 4, c = pixel + j * 8 + lane % 4 * 2;
                        const Vector<float, 2> two{{sums[i][j][h * 2], sums[i][j][h * 2 + 1]}};
                        store_vector(&memory->sums[r * (Tile::PIXELS + FINISH_PAD) + c], two);
                    }
        }
        __syncthreads();
        finish_tile<T, Tile::WARP_CHANNELS, Tile::PIXELS, Tile::THREADS>(
            f, s, memory->sums, start + place.channel + pass * Tile::WARP_CHANNELS, start + s.group_outputs,
            place.pixel, place.slice);
    }
}

#define CONV_MATRIX(NAME, T, BLOCKS, ...)                                                                        \
    extern "C" __global__ void __launch_bounds__((MatrixTile<T, __VA_ARGS__>::THREADS), BLOCKS)                  \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             float *partial, ConvSizes sizes, Cut cut, int activation, double parameter) {                       \
        const Finish<T> f{scale, shift, residual, output, partial, activation, (float)parameter};                \
        convolve<MatrixTile<T, __VA_ARGS__>>(input, weight, f, sizes, cut);                                      \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

// The tiles of each type: channels, pixels, warps down and across, whether the input is dense.
#define CONV_MATRIX_TILES(NAME, T)                                   \
    CONV_MATRIX(NAME##_128x128, T, 2, 128, 128, 2, 4, false)         \
    CONV_MATRIX(NAME##_128x128_dense, T, 2, 128, 128, 2, 4, true)    \
    CONV_MATRIX(NAME##_64x64, T, 4, 64, 64, 2, 2, false)             \
    CONV_MATRIX(NAME##_64x64_dense, T, 4, 64, 64, 2, 2, true)        \
    CONV_MATRIX(NAME##_32x128, T, 4, 32, 128, 1, 4, false)           \
    CONV_MATRIX(NAME##_32x128_dense, T, 4, 32, 128, 1, 4, true)
