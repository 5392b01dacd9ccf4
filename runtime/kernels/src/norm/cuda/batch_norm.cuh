// The arithmetic of the batch normalization kernels.
#pragma once
#include "../../cuda/activation.cuh"
#include "channels.cuh"

// The count and the mean of a set of numbers, and the sum of the squared deviations from the mean (`squares`).
template <class A> struct Moments {
    A count, mean, squares;

    // Adds one number (Welford, 1962).
    __device__ __forceinline__ void add(A x) {
        count += 1;
        const A delta = x - mean;
        mean += delta * (A(1) / count);
        squares += delta * (x - mean);
    }
};

// Returns the moments of the union of two sets (Chan, Golub and LeVeque, 1979).
template <class A> __device__ __forceinline__ Moments<A> combine(const Moments<A> &a, const Moments<A> &b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const A count = a.count + b.count, delta = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
}

// The sum of the masked gradients, and the sum of the products of masked gradient and normalized input.
template <class A> struct Sums {
    A gradient, product;
};
template <class A> __device__ __forceinline__ Sums<A> combine(const Sums<A> &a, const Sums<A> &b) {
    return {a.gradient + b.gradient, a.product + b.product};
}

// The function `activation((x - mean) · inv_std · weight + bias)` of one channel.
template <class A> struct Normalize {
    A mean, inv_std, weight, bias;
    int activation;
    A parameter;
    // Whether the derivative of the activation is computed from its output.
    bool from_output;

    // Returns the normalized input.
    __device__ __forceinline__ A normalized(A x) const { return (x - mean) * inv_std; }
    __device__ __forceinline__ A operator()(A x) const {
        return activate(activation, parameter, (x - mean) * (inv_std * weight) + bias);
    }
    // Returns the masked gradient for the input `x`, from the gradient of the output.
    __device__ __forceinline__ A masked_gradient(A x, A gradient) const {
        const A input = (x - mean) * (inv_std * weight) + bias;
        const A saved = from_output ? activate(activation, parameter, input) : input;
        return activation_gradient(activation, parameter, gradient, saved);
    }
};

// The weight, bias and activation of all channels, as kernel arguments. A null `weight` means 1, and a null `bias`
// means 0.
template <class A> struct Affine {
    const A *weight, *bias;
    int activation;
    double parameter;
    int from_output;

    // Returns the function of the channel of `thread`. The result is not used if that channel does not exist.
    template <int WIDTH>
    __device__ __forceinline__ Normalize<A> for_channel(const Channels &c, const ChannelThread<WIDTH> &thread, A mean,
                                                        A inv_std) const {
        const bool exists = thread.exists(c);
        return {mean,       inv_std,      weight && exists ? weight[thread.channel] : A(1),
                bias && exists ? bias[thread.channel] : A(0), activation, (A)parameter, from_output != 0};
    }
};

template <class A> __device__ __forceinline__ A square_root(A x);
template <> __device__ __forceinline__ float square_root<float>(float x) { return sqrtf(x); }
template <> __device__ __forceinline__ double square_root<double>(double x) { return sqrt(x); }
