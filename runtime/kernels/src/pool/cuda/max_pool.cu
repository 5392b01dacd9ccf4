// Max pooling: NaN wins over every number, and of equal maxima the first of the window gets the gradient.
#include "windows.cuh"

constexpr unsigned NOWHERE = 0xffffffffu;

/// The larger; NaN where either is NaN.
template <class A> __device__ __forceinline__ A larger(A max, A value) {
    return value > max || value != value ? value : max;
}

template <class T, int LANES> __device__ __forceinline__ void max_pool(const T *x, T *y, const Pool &pool) {
    Place place;
    if (!find_output<LANES>(place, pool)) return;
    const T *plane = x + place.plane * pool.input();
    Accumulator<T> max = -INFINITY;
    for_each_seen<LANES>(pool, place, [&](int at) { max = larger(max, load(plane + at)); });
    max = join_lanes<LANES>(max, larger<Accumulator<T>>);
    if (LANES > 1 && threadIdx.x % LANES) return;
    store(y + place.plane * pool.output() + place.row * pool.columns.output + place.column, max);
}

/// Where in its plane each window's maximum lies: the first that equals it, or the last NaN.
template <class T, int LANES>
__device__ __forceinline__ void max_places(const T *x, const T *y, unsigned *places, const Pool &pool) {
    Place place;
    if (!find_output<LANES>(place, pool)) return;
    const size_t output = place.plane * pool.output() + place.row * pool.columns.output + place.column;
    const T *plane = x + place.plane * pool.input();
    const Accumulator<T> max = load(y + output);
    unsigned first = NOWHERE, last_nan = 0;  // one more than where it lies
    for_each_seen<LANES>(pool, place, [&](int at) {
        const Accumulator<T> value = load(plane + at);
        if (value == max && (unsigned)at < first) first = at;
        if (value != value && (unsigned)at >= last_nan) last_nan = at + 1;
    });
    first = join_lanes<LANES>(first, [](unsigned a, unsigned b) { return a < b ? a : b; });
    last_nan = join_lanes<LANES>(last_nan, [](unsigned a, unsigned b) { return a > b ? a : b; });
    if (LANES > 1 && threadIdx.x % LANES) return;
    places[output] = max != max ? last_nan - 1 : first;
}

/// Each element's gradient: those of the windows that it is the maximum of.
template <class T>
__device__ __forceinline__ void max_gradient(const T *gradient, const unsigned *places, T *dx, const Pool &pool) {
    Place place;
    if (!find_input(place, pool)) return;
    const unsigned here = place.row * pool.columns.input + place.column;
    const size_t outputs = place.plane * pool.output();
    Accumulator<T> sum = 0;
    for_each_reaching(pool, place, [&](int at) {
        if (places[outputs + at] == here) sum += load(gradient + outputs + at);
    });
    store(dx + place.plane * pool.input() + here, sum);
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
        max_pool_places_##NAME(const T *x, const T *y, unsigned *places, Pool pool) {                            \
        max_places<T, 1>(x, y, places, pool);                                                                    \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_places_##NAME)                                                                        \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        max_pool_places_wide_##NAME(const T *x, const T *y, unsigned *places, Pool pool) {                       \
        max_places<T, 32>(x, y, places, pool);                                                                   \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_places_wide_##NAME)                                                                   \
    extern "C" __global__ void __launch_bounds__(POOL_THREADS)                                                   \
        max_pool_gradient_##NAME(const T *gradient, const unsigned *places, T *dx, Pool pool) {                  \
        max_gradient<T>(gradient, places, dx, pool);                                                             \
    }                                                                                                            \
    EXPORT_KERNEL(max_pool_gradient_##NAME)

MAX_POOL(f32, float)
MAX_POOL(f64, double)
MAX_POOL(f16, __half)
MAX_POOL(bf16, __nv_bfloat16)
