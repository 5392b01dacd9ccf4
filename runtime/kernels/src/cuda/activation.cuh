// The activations of a kernel's epilogue and their gradients, as defined in
// `runtime/kernels/src/activation/definitions.rs`. The activation of NaN is NaN. In an interval on which an activation
// is constant, the gradient of the input is 0, even if the gradient of the output is infinite.
#pragma once

// The names of the fused activations, in the order of the table in `definitions.rs`.
#define FOR_EACH_ACTIVATION(X) \
    X(IDENTITY)                \
    X(RELU)                    \
    X(RELU6)                   \
    X(LEAKY_RELU)              \
    X(SILU)                    \
    X(GELU)                    \
    X(SIGMOID)                 \
    X(TANH)                    \
    X(HARDSWISH)

#define ENUMERATOR(NAME) ACTIVATION_##NAME,
enum ActivationKind : int { FOR_EACH_ACTIVATION(ENUMERATOR) };
#undef ENUMERATOR

namespace activation {

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }
__device__ __forceinline__ float complementary_error(float x) { return erfcf(x); }
__device__ __forceinline__ double complementary_error(double x) { return erfc(x); }

// Unlike `max` and `min`, these functions return NaN if `x` is NaN.
template <class T> __device__ __forceinline__ T at_least(T x, T bound) { return x < bound ? bound : x; }
template <class T> __device__ __forceinline__ T at_most(T x, T bound) { return x > bound ? bound : x; }

template <class T> __device__ __forceinline__ T sigmoid(T x) { return T(1) / (T(1) + exponential(-x)); }
// Φ, the standard normal distribution function, and its density. erfc has a small relative error in the left tail,
// where 1 + erf suffers from cancellation.
template <class T> __device__ __forceinline__ T normal_cdf(T x) {
    return T(0.5) * complementary_error(-x * T(0.70710678118654752440));
}
template <class T> __device__ __forceinline__ T normal_pdf(T x) {
    return exponential(x * x * T(-0.5)) * T(0.39894228040143267794);
}

}  // namespace activation

// Returns the activation of `v`, a float or a double. `kind` is the same for the whole launch, so the branch is
// uniform.
template <class T> __device__ __forceinline__ T activate(int kind, T parameter, T v) {
    using namespace activation;
    switch (kind) {
        case ACTIVATION_RELU: return at_least(v, T(0));
        case ACTIVATION_RELU6: return at_most(at_least(v, T(0)), T(6));
        case ACTIVATION_LEAKY_RELU: return v > T(0) ? v : v * parameter;
        case ACTIVATION_SILU: return v * sigmoid(v);
        case ACTIVATION_GELU: return v * normal_cdf(v);
        case ACTIVATION_SIGMOID: return sigmoid(v);
        case ACTIVATION_TANH: return hyperbolic_tangent(v);
        case ACTIVATION_HARDSWISH: return v * at_most(at_least(v + T(3), T(0)), T(6)) / T(6);
        default: return v;
    }
}

// Applies the activation to several values. The values share one branch on `kind`.
template <int KIND, class T, int N> __device__ __forceinline__ void activate_as(T parameter, T (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = activate(KIND, parameter, v[i]);
}
template <class T, int N> __device__ __forceinline__ void activate(int kind, T parameter, T (&v)[N]) {
#define ACTIVATE_ALL(NAME) \
    case ACTIVATION_##NAME: return activate_as<ACTIVATION_##NAME>(parameter, v);
    switch (kind) { FOR_EACH_ACTIVATION(ACTIVATE_ALL) }
#undef ACTIVATE_ALL
}

// Returns the gradient of the input from the gradient of the output and the saved value: the output if
// `Activation::saves_output`, else the input.
template <class T>
__device__ __forceinline__ T activation_gradient(int kind, T parameter, T gradient, T saved) {
    using namespace activation;
    switch (kind) {
        case ACTIVATION_RELU: return saved <= T(0) ? T(0) : gradient;
        case ACTIVATION_RELU6: return saved <= T(0) || saved >= T(6) ? T(0) : gradient;
        case ACTIVATION_LEAKY_RELU: return saved > T(0) ? gradient : gradient * parameter;
        case ACTIVATION_SILU: {
            const T s = sigmoid(saved);
            return gradient * (s * (T(1) + saved * (T(1) - s)));
        }
        case ACTIVATION_GELU: return gradient * (normal_cdf(saved) + saved * normal_pdf(saved));
        case ACTIVATION_SIGMOID: return gradient * ((T(1) - saved) * saved);
        case ACTIVATION_TANH: return gradient * ((T(1) - saved) * (T(1) + saved));
        case ACTIVATION_HARDSWISH:
            if (saved <= T(-3)) return T(0);
            return saved < T(3) ? gradient * (saved / T(3) + T(0.5)) : gradient;
        default: return gradient;
    }
}

// Returns the slope for the saved value `saved`, see `activation_gradient`.
template <class T> __device__ __forceinline__ T slope(int kind, T parameter, T saved) {
    return activation_gradient(kind, parameter, T(1), saved);
}
