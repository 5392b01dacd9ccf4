// Average pooling: the sum of each window is divided by the number of its elements, with or without the padding, or by
// a fixed number.
#include "windows.cuh"

// The divisor of the sums: `fixed` if that is not 0, and the number of elements otherwise.
struct Divisor {
    double fixed;
    bool with_padding;
};

// Returns the number of elements of a window that the divisor counts along one axis.
__device__ __forceinline__ int divisor_count(const Axis &axis, int output, bool with_padding) {
    if (!with_padding || axis.kernel == 0) return window_of(axis, output).count;
    const int start = output * axis.stride;
    return min(start + axis.kernel, axis.input + 2 * axis.padding) - start;
}

template <class A>
__device__ __forceinline__ A divisor_of(const Pool &pool, const Divisor &divisor, int row, int column) {
    if (divisor.fixed != 0.) return (A)divisor.fixed;
    const A rows = (A)divisor_count(pool.rows, row, divisor.with_padding);
    return rows * (A)divisor_count(pool.columns, column, divisor.with_padding);
}

// Writes the average of each window.
template <class T, int LANES>
__device__ __forceinline__ void average_pool(const T *x, T *y, const Pool &pool, const Divisor &divisor) {
    using A = Accumulator<T>;
    Position position;
    if (!find_output<LANES>(position, pool)) return;
    const T *plane = x + position.plane * pool.input();
    A sum = 0;
    for_each_in_window<LANES>(pool, position, [&](int at) { sum += load(plane + at); });
    sum = reduce_lanes<LANES>(sum, [](A a, A b) { return a + b; });
    if (LANES > 1 && threadIdx.x % LANES) return;
    store(y + position.plane * pool.output() + position.row * pool.columns.output + position.column,
          sum / divisor_of<A>(pool, divisor, position.row, position.column));
}

// Writes the gradient of each element: the sum, over the windows that contain the element, of the window's gradient
// divided by the window's divisor.
template <class T>
__device__ __forceinline__ void average_gradient(const T *gradient, T *dx, const Pool &pool, const Divisor &divisor) {
    using A = Accumulator<T>;
    Position position;
    if (!find_input(position, pool)) return;
    const T *plane = gradient + position.plane * pool.output();
    A sum = 0;
    for_each_output_over(pool, position, [&](int at) {
        const int row = at / pool.columns.output, column = at - row * pool.columns.output;
        sum += load(plane + at) / divisor_of<A>(pool, divisor, row, column);
    });
    store(dx + position.plane * pool.input() + position.row * pool.columns.input + position.column, sum);
}

#define AVERAGE_POOL(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        average_pool_##NAME(const T *x, T *y, Pool pool, double divisor, int with_padding) {                     \
        average_pool<T, 1>(x, y, pool, {divisor, with_padding != 0});                                            \
    }                                                                                                            \
    EXPORT_KERNEL(average_pool_##NAME)                                                                           \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        average_pool_wide_##NAME(const T *x, T *y, Pool pool, double divisor, int with_padding) {                \
        average_pool<T, 32>(x, y, pool, {divisor, with_padding != 0});                                           \
    }                                                                                                            \
    EXPORT_KERNEL(average_pool_wide_##NAME)                                                                      \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        average_pool_gradient_##NAME(const T *gradient, T *dx, Pool pool, double divisor, int with_padding) {    \
        average_gradient<T>(gradient, dx, pool, {divisor, with_padding != 0});                                   \
    }                                                                                                            \
    EXPORT_KERNEL(average_pool_gradient_##NAME)

AVERAGE_POOL(f32, float)
AVERAGE_POOL(f64, double)
AVERAGE_POOL(f16, __half)
AVERAGE_POOL(bf16, __nv_bfloat16)
