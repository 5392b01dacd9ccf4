// The input positions in the window of an output, and the outputs whose windows cover an input position.
#pragma once
#include "../../cuda/element.cuh"

// One axis of pooling. A `kernel` of 0 means adaptive pooling, whose windows follow from `input` and `output`.
struct Axis {
    int input, output, kernel, stride, padding, dilation;
};

// The sizes of pooling over `planes` images.
struct Pool {
    int planes;
    Axis rows, columns;

    __device__ __forceinline__ int input() const { return rows.input * columns.input; }
    __device__ __forceinline__ int output() const { return rows.output * columns.output; }
};

constexpr int POOL_THREADS = 256;

// The `count` positions `first`, `first + step`, `first + 2 * step`, ….
struct StridedRange {
    int first, step, count;
};

// Returns the input positions in the window of an output.
__device__ __forceinline__ StridedRange window_of(const Axis &axis, int output) {
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

// Returns the outputs whose windows extend over an input position. With dilation, a window may skip the position.
__device__ __forceinline__ StridedRange outputs_over(const Axis &axis, int position) {
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

// A position in `planes` images.
struct Position {
    size_t plane;
    int row, column;
};

// Finds the position of the current thread in images of size `height` × `width`, with `LANES` threads for each
// position. Returns false if the position does not exist; all threads of a position return the same value.
template <int LANES>
__device__ __forceinline__ bool find_position(Position &position, int planes, int height, int width) {
    // 32-bit division if the index allows it, because 64-bit division is slow.
    const size_t index = ((size_t)blockIdx.x * POOL_THREADS + threadIdx.x) / LANES;
    const int pixels = height * width;
    position.plane = index < 0xffffffffu ? (unsigned)index / (unsigned)pixels : index / pixels;
    const int pixel = (int)(index - position.plane * pixels);
    position.row = pixel / width;
    position.column = pixel % width;
    return position.plane < (size_t)planes;
}
template <int LANES> __device__ __forceinline__ bool find_output(Position &position, const Pool &pool) {
    return find_position<LANES>(position, pool.planes, pool.rows.output, pool.columns.output);
}
__device__ __forceinline__ bool find_input(Position &position, const Pool &pool) {
    return find_position<1>(position, pool.planes, pool.rows.input, pool.columns.input);
}

// Calls `visit(offset in the plane)` for the elements of a window in order. If a warp shares the window, each lane
// visits every 32nd element.
template <int LANES, class Visit>
__device__ __forceinline__ void for_each_in_window(const Pool &pool, const Position &position, Visit visit) {
    const StridedRange rows = window_of(pool.rows, position.row);
    const StridedRange columns = window_of(pool.columns, position.column);
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

// Calls `visit(offset in the output plane)` for the outputs whose windows extend over an element.
template <class Visit>
__device__ __forceinline__ void for_each_output_over(const Pool &pool, const Position &position, Visit visit) {
    const StridedRange rows = outputs_over(pool.rows, position.row);
    const StridedRange columns = outputs_over(pool.columns, position.column);
    for (int r = 0; r < rows.count; r++)
        for (int c = 0; c < columns.count; c++)
            visit((rows.first + r) * pool.columns.output + columns.first + c);
}

// Reduces the values of the lanes that share a window, in a fixed order.
template <int LANES, class V, class Join> __device__ __forceinline__ V reduce_lanes(V value, Join join) {
#pragma unroll
    for (int bit = LANES / 2; bit > 0; bit /= 2) value = join(value, __shfl_xor_sync(0xffffffffu, value, bit));
    return value;
}
