// In-place optimizer steps. One launch performs the step of one parameter: it reads the parameter, its gradient and the
// optimizer's buffers once, and writes the parameter and the buffers once.
#include "../../cuda/element.cuh"

// The settings of an SGD step, as in `SgdStep` (mod.rs).
struct Sgd {
    double rate, momentum, share, decay;
    int nesterov;
};

// Without momentum, `buffer` is null.
template <class T>
__device__ __forceinline__ void sgd(T *parameter, const T *gradient, T *buffer, int elements, const Sgd &settings) {
    using A = Accumulator<T>;
    const A rate = settings.rate, momentum = settings.momentum, share = settings.share, decay = settings.decay;
    const size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (size_t)elements; i += stride) {
        const A value = load(parameter + i), grad = load(gradient + i) + decay * value;
        A direction = grad;
        if (buffer != nullptr) {
            const A updated = momentum * load(buffer + i) + share * grad;
            store(buffer + i, updated);
            direction = settings.nesterov ? grad + momentum * updated : updated;
        }
        store(parameter + i, value - rate * direction);
    }
}

// The settings of an Adam step, as in `AdamStep` (mod.rs).
struct Adam {
    double rate, keep_mean, keep_square, correction, eps, keep, decay;
};

template <class T>
__device__ __forceinline__ void adam(T *parameter, const T *gradient, T *mean, T *square, int elements,
                                     const Adam &settings) {
    using A = Accumulator<T>;
    const A rate = settings.rate, eps = settings.eps;
    const A keep_mean = settings.keep_mean, keep_square = settings.keep_square;
    const A share_mean = 1 - settings.keep_mean, share_square = 1 - settings.keep_square;
    const A correction = settings.correction, keep = settings.keep, decay = settings.decay;
    const size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (size_t)elements; i += stride) {
        const A value = load(parameter + i), grad = load(gradient + i) + decay * value;
        const A first = keep_mean * load(mean + i) + share_mean * grad;
        const A second = keep_square * load(square + i) + share_square * grad * grad;
        store(mean + i, first);
        store(square + i, second);
        store(parameter + i, keep * value - rate * first / (sqrt(second) * correction + eps));
    }
}

#define DESCENT(SGD, ADAM, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        SGD(T *parameter, const T *gradient, T *buffer, int elements, double rate, double momentum, double share, \
            double decay, int nesterov) {                                                                         \
        sgd(parameter, gradient, buffer, elements, {rate, momentum, share, decay, nesterov});                     \
    }                                                                                                             \
    EXPORT_KERNEL(SGD)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        ADAM(T *parameter, const T *gradient, T *mean, T *square, int elements, double rate, double keep_mean,    \
             double keep_square, double correction, double eps, double keep, double decay) {                      \
        adam(parameter, gradient, mean, square, elements,                                                         \
             {rate, keep_mean, keep_square, correction, eps, keep, decay});                                       \
    }                                                                                                             \
    EXPORT_KERNEL(ADAM)

DESCENT(descent_sgd_f32, descent_adam_f32, float)
DESCENT(descent_sgd_f64, descent_adam_f64, double)
DESCENT(descent_sgd_f16, descent_adam_f16, __half)
DESCENT(descent_sgd_bf16, descent_adam_bf16, __nv_bfloat16)
