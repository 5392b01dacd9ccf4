// The gradients of the residual and the bias, and the last step of sums that are split into parts.
#include "block_sum.cuh"
#include "conv_backward.cuh"

namespace {

// A block masks the gradient of one part of the batch's pixels in one channel. `residual` receives the masked gradient,
// and `parts`, [part, channel], receives its sum. Either may be null.
template <class T>
__device__ void mask(Masked<T> grad, T *residual, Accumulator<T> *parts, int channels, int plane, int pixels,
                     int part_pixels) {
    __shared__ Accumulator<T> scratch[SUM_THREADS / 32];
    const int channel = blockIdx.x % channels, part = blockIdx.x / channels;
    const int first = part * part_pixels, end = min(first + part_pixels, pixels);
    Accumulator<T> sum = 0;
    for (int pixel = first + threadIdx.x; pixel < end; pixel += SUM_THREADS) {
        const int image = pixel / plane;
        const size_t at = ((size_t)image * channels + channel) * plane + (pixel - image * plane);
        const Accumulator<T> value = grad[at];
        if (residual) store(residual + at, value);
        sum += value;
    }
    if (!parts) return;
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) parts[(size_t)part * channels + channel] = sum;
}

// Computes `count` sums from their parts, [part_count, count], in a fixed order.
template <class T> __device__ void sum_parts(const Accumulator<T> *parts, T *result, int count, int part_count) {
    __shared__ Accumulator<T> scratch[SUM_HEIGHT][SUM_WIDTH];
    const int i = blockIdx.x * SUM_WIDTH + threadIdx.x % SUM_WIDTH;
    const Accumulator<T> sum = sum_of_parts(parts + min(i, count - 1), count, part_count, scratch);
    if (threadIdx.x < SUM_WIDTH && i < count) store(result + i, sum);
}

}  // namespace

#define SUM_KERNELS(name, T)                                                                                           \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) conv_backward_mask_##name(                               \
        const T *grad, const T *output, T *residual, Accumulator<T> *parts, int activation, double parameter,          \
        int channels, int plane, int pixels, int part_pixels) {                                                        \
        const Masked<T> masked = {grad, output, activation, (Accumulator<T>)parameter};                                \
        mask<T>(masked, residual, parts, channels, plane, pixels, part_pixels);                                        \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_mask_##name)                                                                           \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) conv_backward_sum_##name(                                \
        const Accumulator<T> *parts, T *result, int count, int part_count) {                                           \
        sum_parts<T>(parts, result, count, part_count);                                                                \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_sum_##name)

SUM_KERNELS(f32, float)
SUM_KERNELS(f64, double)
SUM_KERNELS(f16, __half)
SUM_KERNELS(bf16, __nv_bfloat16)
