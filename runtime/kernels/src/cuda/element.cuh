// Elements in memory and their accumulators. Loads widen an element to its accumulator type (float for the 16-bit
// types); stores round the accumulator once.
#pragma once
#include "portable.cuh"

template <class T> struct AccumulatorOf { using Type = float; };
template <> struct AccumulatorOf<double> { using Type = double; };
// The type in which elements of `T` are summed.
template <class T> using Accumulator = typename AccumulatorOf<T>::Type;

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounds an accumulator to `T`.
template <class T> __device__ __forceinline__ T narrow(Accumulator<T> value);
template <> __device__ __forceinline__ float narrow<float>(float value) { return value; }
template <> __device__ __forceinline__ double narrow<double>(double value) { return value; }
template <> __device__ __forceinline__ __half narrow<__half>(float value) { return __float2half_rn(value); }
template <> __device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

template <class T> __device__ __forceinline__ Accumulator<T> load(const T *from) { return widen(*from); }
template <class T> __device__ __forceinline__ void store(T *to, Accumulator<T> value) { *to = narrow<T>(value); }

// `N` consecutive elements, loaded and stored as one vector of at most 16 bytes, aligned to its size.
template <class T, int N> struct alignas(sizeof(T) * N) Vector {
    static_assert(sizeof(T) * N <= 16, "a vector load reads at most 16 bytes");
    T at[N];
};

// The number of elements in 16 bytes.
template <class T> constexpr int WIDEST = 16 / sizeof(T);

template <int N, class T> __device__ __forceinline__ Vector<T, N> load_vector(const T *from) {
    return *reinterpret_cast<const Vector<T, N> *>(from);
}
template <int N, class T> __device__ __forceinline__ void store_vector(T *to, const Vector<T, N> &value) {
    *reinterpret_cast<Vector<T, N> *>(to) = value;
}
