// The second launch of a convolution whose depth is split into slices. Adds the slices in order and applies the
// epilogue.
#include "epilogue.cuh"

template <class T>
__device__ __forceinline__ void add_slices(const Accumulator<T> *__restrict__ partial, int slices, const Epilogue<T> &f,
                                           const ConvSizes &s) {
    const int element = blockIdx.x * blockDim.x + threadIdx.x;
    const int elements = s.out_channels * s.plane;
    if (element >= elements) return;
    const int channel = element / s.plane;
    for (int image = blockIdx.y; image < s.batch; image += gridDim.y) {
        const size_t at = (size_t)image * elements + element, slice = (size_t)s.batch * elements;
        Accumulator<T> sum = partial[at];
#pragma unroll 4
        for (int i = 1; i < slices; i++) sum += partial[i * slice + at];
        store_pixel(f, channel, at, 0, sum);
    }
}

#define CONV_SLICES(NAME, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(128)                                                            \
        NAME(const Accumulator<T> *partial, const T *scale, const T *shift, const T *residual, T *output,        \
             ConvSizes sizes, int slices, int activation, double parameter) {                                    \
        const Epilogue<T> f{scale, shift, residual, output, nullptr, activation, (Accumulator<T>)parameter};     \
        add_slices(partial, slices, f, sizes);                                                                   \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

CONV_SLICES(conv_slices_f32, float)
CONV_SLICES(conv_slices_f64, double)
CONV_SLICES(conv_slices_f16, __half)
CONV_SLICES(conv_slices_bf16, __nv_bfloat16)
