// Average pooling: the sum of a window over the number of its elements, over that with the padding's, or over a
// number that is given.
#include "windows.cuh"

/// What the sums are divided by: `fixed` unless it is 0.
struct Divisor {
    double fixed;
    bool with_padding;
};

/// How many elements a window counts as, along one axis.
__device__ __forceinline__ int counted(const Axis &axis, int output, bool with_padding) {
    if (!with_padding || axis.kernel == 0) return seen_by(axis, output).count;
    const int start = output * axis.stride;
    return min(start + axis.kernel, axis.input + 2 * axis.padding) - start;
}

template <class A>
__device__ __forceinline__ A divisor_of(const Pool &pool, const Divisor &divisor, int row, int column) {
    if (divisor.fixed != 0.) return (A)divisor.fixed;
    return (A)counted(pool.rows, row, divisor.with_padding) * (A)counted(pool.columns, column, divisor.with_padding);
}

template <class T, int LANES>
__device__ __forceinline__ void average_pool(const T *x, T *y, const Pool &pool, const Divisor &divisor) {
    using A = Accumulator<T>;
    Place place;
    if (!find_output<LANES>(place, pool)) return;
    const T *plane = x + place.plane * pool.input();
    A sum = 0;
    for_each_seen<LANES>(pool, place, [&](int at) { sum += load(plane + at); });
    sum = join_lanes<LANES>(sum, [](A a, A b) { return a + b; });
    if (LANES > 1 && threadIdx.x % LANES) return;
    store(y + place.plane * pool.output() + place.row * pool.columns.output + place.column,
          sum / divisor_of<A>(pool, divisor, place.row, place.column));
}

/// Each element's gradient: its share of those of the windows that see it.
template <class T>
__device__ __forceinline__ void average_gradient(const T *gradient, T *dx, const Pool &pool, const Divisor &divisor) {
    using A = Accumulator<T>;
    Place place;
    if (!find_input(place, pool)) return;
    const T *plane = gradient + place.plane * pool.output();
    A sum = 0;
    for_each_reaching(pool, place, [&](int at) {
        const int row = at / pool.columns.output, column = at - row * pool.columns.output;
        sum += load(plane + at) / divisor_of<A>(pool, divisor, row, column);
    });
    store(dx + place.plane * pool.input() + place.row * pool.columns.input + place.column, sum);
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
