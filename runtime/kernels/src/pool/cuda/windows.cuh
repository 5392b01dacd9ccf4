// Which elements of the input an output sees, and which outputs an element is seen by.
#pragma once
#include "../../cuda/element.cuh"

/// One axis of a pooling. A kernel of 0 stands for windows as even as can be, which `output` alone determines.
struct Axis {
    int input, output, kernel, stride, padding, dilation;
};

/// The sizes of a pooling over `planes` images.
struct Pool {
    int planes;
    Axis rows, columns;

    __device__ __forceinline__ int input() const { return rows.input * columns.input; }
    __device__ __forceinline__ int output() const { return rows.output * columns.output; }
};

constexpr int POOL_THREADS = 256;

/// `first`, `first + step`, …, `count` of them.
struct Run {
    int first, step, count;
};

/// The positions of the input that an output sees.
__device__ __forceinline__ Run seen_by(const Axis &axis, int output) {
    if (axis.kernel == 0) {
        const long long start = (long long)output * axis.input, after = start + axis.input + axis.output - 1;
        const int first = (int)(start / axis.output);
        return {first, 1, (int)(after / axis.output) - first};
    }
    const int start = output * axis.stride - axis.padding;
    const int skipped = start < 0 ? (axis.dilation - 1 - start) / axis.dilation : 0;
    const int first = start + skipped * axis.dilation;
    const int end = min(start + (axis.kernel - 1) * axis.dilation + 1, axis.input);
    return {first, axis.dilation, end > first ? (end - first + axis.dilation - 1) / axis.dilation : 0};
}

/// The outputs whose windows reach over a position: with a dilation, some of them may not see it.
__device__ __forceinline__ Run reaching(const Axis &axis, int position) {
    int first, last;
    if (axis.kernel == 0) {
        const long long start = (long long)position * axis.output;
        first = (int)(start / axis.input);
        last = (int)((start + axis.output + axis.input - 1) / axis.input) - 1;
    } else {
        const int from = position + axis.padding, before = from - (axis.kernel - 1) * axis.dilation;
        first = before > 0 ? (before + axis.stride - 1) / axis.stride : 0;
        last = from / axis.stride;
    }
    return {first, 1, min(last, axis.output - 1) - first + 1};
}

/// One element of `planes` images.
struct Place {
    size_t plane;
    int row, column;
};

/// The running thread's element of images of `height` rows of `width`, with `LANES` threads an element. False
/// where there is none, for all of those threads alike.
template <int LANES>
__device__ __forceinline__ bool find_place(Place &place, int planes, int height, int width) {
    // 32 bits where they do: division by 64 is slow.
    const size_t index = ((size_t)blockIdx.x * POOL_THREADS + threadIdx.x) / LANES;
    const int pixels = height * width;
    place.plane = index < 0xffffffffu ? (unsigned)index / (unsigned)pixels : index / pixels;
    const int pixel = (int)(index - place.plane * pixels);
    place.row = pixel / width;
    place.column = pixel % width;
    return place.plane < (size_t)planes;
}
template <int LANES> __device__ __forceinline__ bool find_output(Place &place, const Pool &pool) {
    return find_place<LANES>(place, pool.planes, pool.rows.output, pool.columns.output);
}
__device__ __forceinline__ bool find_input(Place &place, const Pool &pool) {
    return find_place<1>(place, pool.planes, pool.rows.input, pool.columns.input);
}

/// Calls `visit(position in the plane)` for a window's elements in their order: all of them, or every 32nd where
/// a warp shares them.
template <int LANES, class Visit>
__device__ __forceinline__ void for_each_seen(const Pool &pool, const Place &place, Visit visit) {
    const Run rows = seen_by(pool.rows, place.row), columns = seen_by(pool.columns, place.column);
    const int width = pool.columns.input;
    if (LANES == 1) {
        for (int r = 0; r < rows.count; r++) {
            const int start = (rows.first + r * rows.step) * width + columns.first;
            for (int c = 0; c < columns.count; c++) visit(start + c * columns.step);
        }
    } else {
        for (int i = threadIdx.x % LANES; i < rows.count * columns.count; i += LANES) {
            const int r = i / columns.count, c = i - r * columns.count;
            visit((rows.first + r * rows.step) * width + columns.first + c * columns.step);
        }
    }
}

/// Calls `visit(output's position in its plane)` for the outputs whose windows reach over an element.
template <class Visit>
__device__ __forceinline__ void for_each_reaching(const Pool &pool, const Place &place, Visit visit) {
    const Run rows = reaching(pool.rows, place.row), columns = reaching(pool.columns, place.column);
    for (int r = 0; r < rows.count; r++)
        for (int c = 0; c < columns.count; c++)
            visit((rows.first + r) * pool.columns.output + columns.first + c);
}

/// Joins what the lanes of a window found, in an order that does not depend on anything.
template <int LANES, class V, class Join> __device__ __forceinline__ V join_lanes(V value, Join join) {
#pragma unroll
    for (int bit = LANES / 2; bit > 0; bit /= 2) value = join(value, __shfl_xor_sync(0xffffffffu, value, bit));
    return value;
}
