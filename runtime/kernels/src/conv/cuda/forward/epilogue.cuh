// The epilogue, applied to sums before they are stored: y = activation((sum · scale + shift) + residual).
#pragma once
#include "../../../cuda/activation.cuh"
#include "../../../cuda/element.cuh"
#include "sizes.cuh"

// The number of neighboring pixels that a thread stores together.
constexpr int RUN = 4;

// The padding of a row of accumulators in shared memory, so that the eight rows of a tensor-core fragment begin in
// different banks.
constexpr int SUMS_PAD = 8;

template <class T> struct Epilogue {
    const T *scale, *shift, *residual;  // may be null
    T *output;
    Accumulator<T> *partial;  // if not null, receives the sums of each slice instead, without the epilogue:
                              // [slices, batch, out_channels, plane]
    int activation;
    Accumulator<T> parameter;
};

// RUN accumulators in shared memory.
template <class T> struct __align__(16) Run { T at[RUN]; };

// Applies the epilogue to `v`. Ignores an operand (`scale`, `shift`, `residual`) whose pointer in `f` is null.
template <class T, int N>
__device__ __forceinline__ void apply_epilogue(const Epilogue<T> &f, const Accumulator<T> (&scale)[N],
                                       const Accumulator<T> (&shift)[N], const Accumulator<T> (&residual)[N],
                                       Accumulator<T> (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (f.scale) v[i] = v[i] * scale[i];
        if (f.shift) v[i] = v[i] + shift[i];
        if (f.residual) v[i] = v[i] + residual[i];
    }
    activate(f.activation, f.parameter, v);
}

// Applies the epilogue to pixels of one channel.
template <class T, int N>
__device__ __forceinline__ void apply_epilogue(const Epilogue<T> &f, int channel, const Accumulator<T> (&residual)[N],
                                       Accumulator<T> (&v)[N]) {
    using A = Accumulator<T>;
    const A one_scale = f.scale ? load(f.scale + channel) : A(1), one_shift = f.shift ? load(f.shift + channel) : A(0);
    A scale[N], shift[N];
#pragma unroll
    for (int i = 0; i < N; i++) scale[i] = one_scale, shift[i] = one_shift;
    apply_epilogue<T, N>(f, scale, shift, residual, v);
}

// Copies RUN adjacent elements with the widest accesses.
template <class T> __device__ __forceinline__ void load_run(const T *from, Accumulator<T> (&to)[RUN]) {
    constexpr int N = WIDEST<T> < RUN ? WIDEST<T> : RUN;
#pragma unroll
    for (int i = 0; i < RUN; i += N) {
        const Vector<T, N> part = load_vector<N>(from + i);
#pragma unroll
        for (int j = 0; j < N; j++) to[i + j] = widen(part.at[j]);
    }
}
template <class T> __device__ __forceinline__ void store_run(T *to, const Accumulator<T> (&from)[RUN]) {
    constexpr int N = WIDEST<T> < RUN ? WIDEST<T> : RUN;
#pragma unroll
    for (int i = 0; i < RUN; i += N) {
        Vector<T, N> part;
#pragma unroll
        for (int j = 0; j < N; j++) part.at[j] = narrow<T>(from[i + j]);
        store_vector<N>(to + i, part);
    }
}

// Applies the epilogue to RUN neighboring pixels of one channel and stores them at index `at` of the output. If
// `f.partial` is not null, stores the sums without the epilogue, at index `slice_start + at` of `f.partial`.
template <class T>
__device__ __forceinline__ void store_pixels(const Epilogue<T> &f, int channel, size_t at, size_t slice_start,
                                           Accumulator<T> (&v)[RUN]) {
    if (f.partial) return store_run(f.partial + slice_start + at, v);
    Accumulator<T> residual[RUN] = {};
    if (f.residual) load_run(f.residual + at, residual);
    apply_epilogue<T, RUN>(f, channel, residual, v);
    store_run(f.output + at, v);
}

// Like `store_pixels`, for one pixel.
template <class T>
__device__ __forceinline__ void store_pixel(const Epilogue<T> &f, int channel, size_t at, size_t slice_start,
                                           Accumulator<T> value) {
    if (f.partial) return store(f.partial + slice_start + at, value);
    const Accumulator<T> residual[1] = {f.residual ? load(f.residual + at) : Accumulator<T>(0)};
    Accumulator<T> v[1] = {value};
    apply_epilogue<T, 1>(f, channel, residual, v);
    store(f.output + at, v[0]);
}

// Applies the epilogue to the N channels `channel + i * STEP` (i < N) of one pixel and stores them. `at` is the index
// of the pixel in channel 0. `plane` is the number of pixels of a channel.
template <int N, int STEP, class T>
__device__ __forceinline__ void store_column(const Epilogue<T> &f, int channel, size_t at, int plane,
                                              Accumulator<T> (&v)[N]) {
    using A = Accumulator<T>;
    A scale[N], shift[N], residual[N];
    const size_t first = at + (size_t)channel * plane, next = (size_t)STEP * plane;
#pragma unroll
    for (int i = 0; i < N; i++) {
        scale[i] = f.scale ? load(f.scale + channel + i * STEP) : A(1);
        shift[i] = f.shift ? load(f.shift + channel + i * STEP) : A(0);
        residual[i] = f.residual ? load(f.residual + first + i * next) : A(0);
    }
    apply_epilogue<T, N>(f, scale, shift, residual, v);
#pragma unroll
    for (int i = 0; i < N; i++) store(f.output + first + i * next, v[i]);
}

// Applies the epilogue to the accumulators `tile` in shared memory, [ROWS, COLUMNS + SUMS_PAD], and stores them. Row r
// is the output channel `channel + r`, stored if it is less than `channel_end`. Column c is the pixel `pixel + c`,
// counted across the images of the batch. With slices, stores in slice `slice` of `f.partial`.
template <class T, int ROWS, int COLUMNS, int THREADS>
__device__ void store_tile(const Epilogue<T> &f, const ConvSizes &s, const Accumulator<T> *tile, int channel,
                            int channel_end, int pixel, int slice) {
    using A = Accumulator<T>;
    constexpr int RUNS = COLUMNS / RUN;
    static_assert(THREADS % RUNS == 0 && COLUMNS % RUN == 0, "a thread has the same columns in every row");
    const int column = threadIdx.x % RUNS * RUN, n = pixel + column;
    if (n >= s.pixels) return;
    // The index of each pixel in channel 0. If RUN divides the plane, the pixels of a run are in one image, and the
    // index of the first is a multiple of RUN.
    const bool contiguous = s.plane % RUN == 0;
    size_t at[RUN];
#pragma unroll
    for (int i = 0; i < RUN; i++) {
        const int image = (n + i) / s.plane;
        at[i] = (size_t)image * s.out_channels * s.plane + (n + i - image * s.plane);
    }
    const size_t slice_start = (size_t)slice * s.batch * s.out_channels * s.plane;
#pragma unroll 1
    for (int row = threadIdx.x / RUNS; row < ROWS; row += THREADS / RUNS) {
        const int m = channel + row;
        if (m >= channel_end) return;
        const Run<A> sums = *reinterpret_cast<const Run<A> *>(tile + row * (COLUMNS + SUMS_PAD) + column);
        A v[RUN];
#pragma unroll
        for (int i = 0; i < RUN; i++) v[i] = sums.at[i];
        const size_t start = (size_t)m * s.plane;
        if (contiguous) {
            store_pixels(f, m, start + at[0], slice_start, v);
        } else {
#pragma unroll
            for (int i = 0; i < RUN; i++)
                if (n + i < s.pixels) store_pixel(f, m, start + at[i], slice_start, v[i]);
        }
    }
}
