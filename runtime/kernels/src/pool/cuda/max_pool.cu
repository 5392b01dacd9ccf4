// Max pooling. The maximum of a window that contains NaN is NaN, and the first of several equal maxima receives the
// gradient.
#include "windows.cuh"

constexpr unsigned NOT_FOUND = 0xffffffffu;

// Returns the larger value, or NaN if either is NaN.
template <class A> __device__ __forceinline__ A larger(A max, A value) {
    return value > max || value != value ? value : max;
}

// Writes the maximum of each window.
template <class T, int LANES> __device__ __forceinline__ void max_pool(const T *x, T *y, const Pool &pool) {
    Position position;
    if (!find_output<LANES>(position, pool)) return;
    const T *plane = x + position.plane * pool.input();
    Accumulator<T> max = -INFINITY;
    for_each_in_window<LANES>(pool, position, [&](int at) { max = larger(max, load(plane + at)); });
    max = reduce_lanes<LANES>(max, larger<Accumulator<T>>);
    if (LANES > 1 && threadIdx.x % LANES) return;
    store(y + position.plane * pool.output() + position.row * pool.columns.output + position.column, max);
}

// Writes, for each window, the index of its maximum in the plane: the first element that equals the maximum, or the
// last NaN.
template <class T, int LANES>
__device__ __forceinline__ void max_indices(const T *x, const T *y, unsigned *indices, const Pool &pool) {
    Position position;
    if (!find_output<LANES>(position, pool)) return;
    const size_t output = position.plane * pool.output() + position.row * pool.columns.output + position.column;
    const T *plane = x + position.plane * pool.input();
    const Accumulator<T> max = load(y + output);
    unsigned first = NOT_FOUND;
    unsigned last_nan = 0;  // the index of the last NaN plus 1, or 0 if there is no NaN
    for_each_in_window<LANES>(pool, position, [&](int at) {
        const Accumulator<T> value = load(plane + at);
        if (value == max && (unsigned)at < first) first = at;
        if (value != value && (unsigned)at >= last_nan) last_nan = at + 1;
    });
    first = reduce_lanes<LANES>(first, [](unsigned a, unsigned b) { return a < b ? a : b; });
    last_nan = reduce_lanes<LANES>(last_nan, [](unsigned a, unsigned b) { return a > b ? a : b; });
    if (LANES > 1 && threadIdx.x % LANES) return;
    indices[output] = max != max ? last_nan - 1 : first;
}

// Writes the gradient of each element: the sum of the gradients of those windows whose maximum is the element.
template <class T>
__device__ __forceinline__ void max_gradient(const T *gradient, const unsigned *indices, T *dx, const Pool &pool) {
    Position position;
    if (!find_input(position, pool)) return;
    const unsigned index = position.row * pool.columns.input + position.column;
    const size_t outputs = position.plane * pool.output();
    Accumulator<T> sum = 0;
    for_each_output_over(pool, position, [&](int at) {
        if (indices[outputs + at] == index) sum += load(gradient + outputs + at);
    });
    store(dx + position.plane * pool.input() + index, sum);
}

#define MAX_POOL(NAME, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS) max_pool_##NAME(const T *x, T *y, Pool pool) {    \
        max_pool<T, 1>(x, y, pool);                                                                              \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_##NAME)                                                                               \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS) max_pool_wide_##NAME(const T *x, T *y, Pool pool) { \
        max_pool<T, 32>(x, y, pool);                                                                             \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_wide_##NAME)                                                                          \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        max_pool_indices_##NAME(const T *x, const T *y, unsigned *indices, Pool pool) {                            \
        max_indices<T, 1>(x, y, indices, pool);                                                                    \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_indices_##NAME)                                                                        \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        max_pool_indices_wide_##NAME(const T *x, const T *y, unsigned *indices, Pool pool) {                       \
        max_indices<T, 32>(x, y, indices, pool);                                                                   \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_indices_wide_##NAME)                                                                   \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        max_pool_gradient_##NAME(const T *gradient, const unsigned *indices, T *dx, Pool pool) {                  \
        max_gradient<T>(gradient, indices, dx, pool);                                                             \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_gradient_##NAME)

MAX_POOL(f32, float)
MAX_POOL(f64, double)
MAX_POOL(f16, __half)
MAX_POOL(bf16, __nv_bfloat16)
