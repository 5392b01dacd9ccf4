// Copies the input, as an im2col matrix [depth, pixels], to shared memory, for `conv_matrix.cuh`.
#pragma once
#include "../../../cuda/element.cuh"
#include "../../../cuda/mma.cuh"
#include "gather.cuh"
#include "weight_rows.cuh"

// The layout of the input, and the number of elements that one copy moves.
enum class InputAccess {
    GATHERED,  // NCHW, any convolution; copies single elements
    DENSE,     // NCHW, 1×1, stride 1, no padding, planes of 4n pixels; copies four pixels
    PACKED,    // packed by `conv_pack.cu`, with contiguous channels of a pixel; copies 16 bytes of channels
};

// Returns the number of channels of a group in a packed input, padded to a multiple of 16 bytes.
template <class T> __host__ __device__ __forceinline__ int packed_channels(const ConvSizes &s) {
    constexpr int PER_COPY = 16 / sizeof(T);
    return (s.group_in_channels + PER_COPY - 1) / PER_COPY * PER_COPY;
}

// Copies the rows `k..k + STEP` of the im2col matrix to a stage, for the pixels `n..n + PIXELS`. `begin` starts
// asynchronous copies, or loads elements to registers, which `end` then stores to the stage. The caller multiplies
// another stage in between.
template <class Tile, InputAccess INPUT = Tile::INPUT, bool HALF = Tile::HALF> struct InputRows;

// DENSE: copies four pixels at a time.
template <class Tile, bool HALF> struct InputRows<Tile, InputAccess::DENSE, HALF> {
    using T = typename Tile::T;
    static constexpr int PER_COPY = 4, PARTS = Tile::PIXELS / PER_COPY, COPIES = Tile::STEP * PARTS / Tile::THREADS;
    static_assert(COPIES * Tile::THREADS == Tile::STEP * PARTS, "all threads make equally many copies");
    const T *pixels;  // the first of the four pixels that the thread copies, in the first channel of the group
    int row, column;
    bool exists;

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : pixels(input), row(threadIdx.x / PARTS), column(threadIdx.x % PARTS * PER_COPY),
          exists(n + column < s.pixels) {
        const int image = (n + column) / s.plane;
        const size_t channel = (size_t)image * s.in_channels + (size_t)group * s.group_in_channels;
        if (exists) pixels += channel * s.plane + (n + column - image * s.plane);
    }
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *input, const Tap *, int k, T *to) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int r = row + i * (Tile::THREADS / PARTS);
            const bool valid = exists && k + r < s.depth;
            const T *from = valid ? pixels + (k + r) * s.plane : input;
            copy_async<PER_COPY * sizeof(T)>(to + r * Tile::INPUT_ROW + column, from, valid);
        }
    }
    __device__ __forceinline__ void end(T *) {}
};

// GATHERED, 4-byte elements: a thread copies several rows of one pixel.
template <class Tile> struct InputRows<Tile, InputAccess::GATHERED, false> {
    using T = typename Tile::T;
    static constexpr int ROWS = Tile::STEP * Tile::PIXELS / Tile::THREADS, STRIDE = Tile::THREADS / Tile::PIXELS;
    Pixel<T> pixel;

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : pixel(input, s, group, n + threadIdx.x % Tile::PIXELS) {}
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *input, const Tap *taps, int, T *to) {
        const int column = threadIdx.x % Tile::PIXELS, row = threadIdx.x / Tile::PIXELS;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const Tap tap = taps[row + i * STRIDE];
            const bool valid = pixel.in_bounds(tap, s);
            cp_async4(to + (row + i * STRIDE) * Tile::INPUT_ROW + column, valid ? pixel.at(tap) : input, valid);
        }
    }
    __device__ __forceinline__ void end(T *) {}
};

// GATHERED, 2-byte elements: a thread loads several rows of two neighboring pixels.
template <class Tile> struct InputRows<Tile, InputAccess::GATHERED, true> {
    using T = typename Tile::T;
    static constexpr int PAIRS = Tile::PIXELS / 2, ROWS = Tile::STEP * PAIRS / Tile::THREADS;
    static constexpr int STRIDE = Tile::THREADS / PAIRS;
    Pixel<T> left, right;
    Vector<T, 2> held[ROWS];

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n)
        : left(input, s, group, n + threadIdx.x % PAIRS * 2), right(input, s, group, n + threadIdx.x % PAIRS * 2 + 1) {}
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *, const Tap *taps, int, T *) {
        const T zero = narrow<T>(0.f);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const Tap tap = taps[threadIdx.x / PAIRS + i * STRIDE];
            held[i].at[0] = left.in_bounds(tap, s) ? *left.at(tap) : zero;
            held[i].at[1] = right.in_bounds(tap, s) ? *right.at(tap) : zero;
        }
    }
    __device__ __forceinline__ void end(T *to) {
        const int column = threadIdx.x % PAIRS * 2, row = threadIdx.x / PAIRS;
#pragma unroll
        for (int i = 0; i < ROWS; i++) store_vector(to + (row + i * STRIDE) * Tile::INPUT_ROW + column, held[i]);
    }
};

// PACKED: copies 16 bytes of the channels of a pixel at a time.
template <class Tile, bool HALF> struct InputRows<Tile, InputAccess::PACKED, HALF> {
    using T = typename Tile::T;
    static constexpr int PER_COPY = 16 / sizeof(T), PARTS = Tile::STEP / PER_COPY, STRIDE = Tile::THREADS / PARTS;
    static constexpr int COPIES = Tile::PIXELS / STRIDE;
    static_assert(COPIES * STRIDE == Tile::PIXELS, "all threads make equally many copies");
    Pixel<T> pixels[COPIES];

    __device__ __forceinline__ InputRows(const T *input, const ConvSizes &s, int group, int n) {
        const int channels = packed_channels<T>(s);
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            pixels[i] = Pixel<T>(input, s, group, n + threadIdx.x / PARTS + i * STRIDE, channels, channels);
    }
    __device__ __forceinline__ void begin(const ConvSizes &s, const T *input, const Tap *taps, int, T *to) {
        const int part = threadIdx.x % PARTS, column = threadIdx.x / PARTS;
        const Tap tap = taps[part];
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const bool valid = pixels[i].in_bounds(tap, s);
            T *destination = to + (column + i * STRIDE) * Tile::WEIGHT_ROW + part * PER_COPY;
            cp_async16(destination, valid ? pixels[i].at(tap) : input, valid);
        }
    }
    __device__ __forceinline__ void end(T *) {}
};
