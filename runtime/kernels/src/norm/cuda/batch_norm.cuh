// What the kernels of batch normalisation compute.
#pragma once
#include "../../cuda/activation.cuh"
#include "channels.cuh"

/// Count, mean and sum of squared deviations of a set of numbers.
template <class A> struct Moments {
    A count, mean, squares;

    /// Of one number more (Welford, 1962).
    __device__ __forceinline__ void add(A x) {
        count += 1;
        const A apart = x - mean;
        mean += apart * (A(1) / count);
        squares += apart * (x - mean);
    }
};

/// Of two sets together (Chan, Golub and LeVeque, 1979).
template <class A> __device__ __forceinline__ Moments<A> join(const Moments<A> &a, const Moments<A> &b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const A count = a.count + b.count, apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

/// Two sums.
template <class A> struct Sums {
    A gradient, product;
};
template <class A> __device__ __forceinline__ Sums<A> join(const Sums<A> &a, const Sums<A> &b) {
    return {a.gradient + b.gradient, a.product + b.product};
}

/// What a channel's elements go through: `activation((x - mean) · inv_std · weight + bias)`.
template <class A> struct Normalise {
    A mean, inv_std, weight, bias;
    int activation;
    A parameter;
    /// Whether the activation's gradient is taken from its output.
    bool from_output;

    __device__ __forceinline__ A hat(A x) const { return (x - mean) * inv_std; }
    __device__ __forceinline__ A operator()(A x) const {
        return activate(activation, parameter, (x - mean) * (inv_std * weight) + bias);
    }
    /// The gradient before the activation, for that of the output.
    __device__ __forceinline__ A before_activation(A x, A gradient) const {
        const A input = (x - mean) * (inv_std * weight) + bias;
        const A saved = from_output ? activate(activation, parameter, input) : input;
        return activation_gradient(activation, parameter, gradient, saved);
    }
};

/// The settings that come as arguments: `weight` and `bias` may be null, for 1 and 0.
template <class A> struct Affine {
    const A *weight, *bias;
    int activation;
    double parameter;
    int from_output;

    /// For the channel that `worker` is on; nothing of the kind where there is none.
    template <int WIDTH>
    __device__ __forceinline__ Normalise<A> of(const Channels &c, const Worker<WIDTH> &worker, A mean, A inv_std) const {
        const bool exists = worker.exists(c);
        return {mean,       inv_std,      weight && exists ? weight[worker.channel] : A(1),
                bias && exists ? bias[worker.channel] : A(0), activation, (A)parameter, from_output != 0};
    }
};

template <class A> __device__ __forceinline__ A square_root(A x);
template <> __device__ __forceinline__ float square_root<float>(float x) { return sqrtf(x); }
template <> __device__ __forceinline__ double square_root<double>(double x) { return sqrt(x); }
