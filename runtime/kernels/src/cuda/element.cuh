// Elements in memory and their accumulators: what a tensor holds is loaded to the type that sums are made
// in (float for the 16-bit types), and rounded once when it is stored.
#pragma once
#include "portable.cuh"

template <class T> struct AccumulatorOf { using Type = float; };
template <> struct AccumulatorOf<double> { using Type = double; };
/// The type that sums of `T` are made in.
template <class T> using Accumulator = typename AccumulatorOf<T>::Type;

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

/// Rounds an accumulator to `T`.
template <class T> __device__ __forceinline__ T narrow(Accumulator<T> value);
template <> __device__ __forceinline__ float narrow<float>(float value) { return value; }
template <> __device__ __forceinline__ double narrow<double>(double value) { return value; }
template <> __device__ __forceinline__ __half narrow<__half>(float value) { return __float2half_rn(value); }
template <> __device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

template <class T> __device__ __forceinline__ Accumulator<T> load(const T *from) { return widen(*from); }
template <class T> __device__ __forceinline__ void store(T *to, Accumulator<T> value) { *to = narrow<T>(value); }

/// `N` neighbours that are loaded and stored as one: of 16 bytes at most, at a multiple of their size.
template <class T, int N> struct alignas(sizeof(T) * N) Vector {
    static_assert(sizeof(T) * N <= 16, "a thread loads 16 bytes at a time at most");
    T at[N];
};

/// How many elements fill 16 bytes.
template <class T> constexpr int WIDEST = 16 / sizeof(T);

template <int N, class T> __device__ __forceinline__ Vector<T, N> load_vector(const T *from) {
    return *reinterpret_cast<const Vector<T, N> *>(from);
}
template <int N, class T> __device__ __forceinline__ void store_vector(T *to, const Vector<T, N> &value) {
    *reinterpret_cast<Vector<T, N> *>(to) = value;
}
