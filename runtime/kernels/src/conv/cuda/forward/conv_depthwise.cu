// Depthwise convolution: each output channel reads one input channel. Its speed is limited by memory bandwidth. A
// thread computes several output pixels of one column, and reads each input row once for all of them. Neighboring
// threads read neighboring elements.
#include "epilogue.cuh"

// The outputs of a thread in each image: `rows` adjacent pixels of one column, in one channel. The first is at
// [channel, row, column].
struct Strip {
    int channel, row, column;
    bool exists;

    // The index of a thread is [channel, strip, column].
    __device__ __forceinline__ Strip(const ConvSizes &s, int rows) {
        const unsigned strips = (unsigned)(s.out_height + rows - 1) / rows;
        const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
        const unsigned line = index / s.out_width, plane = line / strips;
        column = index - line * s.out_width;
        row = (line - plane * strips) * rows;
        channel = plane;
        exists = plane < (unsigned)s.out_channels;
    }
};

// Convolves with a K×K kernel without dilation, with the same stride on both axes.
template <class T, int K, int STRIDE, int ROWS>
__device__ __forceinline__ void specialized(const T *__restrict__ input, const T *__restrict__ weight,
                                            const Epilogue<T> &f, const ConvSizes &s) {
    using A = Accumulator<T>;
    const Strip strip(s, ROWS);
    if (!strip.exists) return;
    A weights[K * K];
#pragma unroll
    for (int i = 0; i < K * K; i++) weights[i] = load(weight + strip.channel * (K * K) + i);
    const int y = strip.row * STRIDE - s.pad_top, x = strip.column * STRIDE - s.pad_left;
    bool inside[K];
#pragma unroll
    for (int c = 0; c < K; c++) inside[c] = (unsigned)(x + c) < (unsigned)s.width;

    for (int image = blockIdx.y; image < s.batch; image += gridDim.y) {
        const size_t channel = (size_t)image * s.in_channels + strip.channel / s.group_out_channels;
        const T *from = input + channel * s.height * s.width + (ptrdiff_t)y * s.width + x;
        A sums[ROWS] = {};
#pragma unroll
        for (int i = 0; i < (ROWS - 1) * STRIDE + K; i++) {
            const bool row_inside = (unsigned)(y + i) < (unsigned)s.height;
            A values[K];
#pragma unroll
            for (int c = 0; c < K; c++) values[c] = row_inside && inside[c] ? load(from + c) : A(0);
            from += s.width;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int k = i - r * STRIDE;  // The kernel row under which output row r reads input row i.
                if (k < 0 || k >= K) continue;
#pragma unroll
                for (int c = 0; c < K; c++) sums[r] += values[c] * weights[k * K + c];
            }
        }
        const size_t out_plane = (size_t)image * s.out_channels + strip.channel;
        const size_t at = out_plane * s.plane + strip.row * s.out_width + strip.column;
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (strip.row + r < s.out_height) store_pixel(f, strip.channel, at + r * s.out_width, 0, sums[r]);
    }
}

// Convolves with a kernel of any size, stride and dilation. A thread computes one output pixel of each image.
template <class T>
__device__ __forceinline__ void general(const T *__restrict__ input, const T *__restrict__ weight,
                                        const Epilogue<T> &f, const ConvSizes &s) {
    using A = Accumulator<T>;
    const Strip strip(s, 1);
    if (!strip.exists) return;
    const int y = strip.row * s.stride_down - s.pad_top, x = strip.column * s.stride_right - s.pad_left;
    const T *weights = weight + (size_t)strip.channel * s.depth;
    for (int image = blockIdx.y; image < s.batch; image += gridDim.y) {
        const size_t channel = (size_t)image * s.in_channels + strip.channel / s.group_out_channels;
        const T *plane = input + channel * s.height * s.width;
        A sum = A(0);
        for (int r = 0; r < s.kernel_height; r++) {
            const int row = y + r * s.dilation_down;
            if ((unsigned)row >= (unsigned)s.height) continue;
            for (int c = 0; c < s.kernel_width; c++) {
                const int column = x + c * s.dilation_right;
                if ((unsigned)column < (unsigned)s.width)
                    sum += load(plane + row * s.width + column) * load(weights + r * s.kernel_width + c);
            }
        }
        const size_t out_plane = (size_t)image * s.out_channels + strip.channel;
        const size_t at = out_plane * s.plane + strip.row * s.out_width + strip.column;
        store_pixel(f, strip.channel, at, 0, sum);
    }
}

#define CONV_DEPTHWISE(NAME, T, BLOCKS, FUNCTION)                                                                \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS)                                                    \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             ConvSizes sizes, int activation, double parameter) {                                                \
        const Epilogue<T> f{scale, shift, residual, output, nullptr, activation, (Accumulator<T>)parameter};     \
        FUNCTION(input, weight, f, sizes);                                                                       \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

// The last arguments of `specialized` are the kernel size, the stride, and the rows of a thread. Kernels with many rows
// are selected if they still have enough threads for all multiprocessors.
#define CONV_DEPTHWISE_SPECIALIZED(NAME, T)                              \
    CONV_DEPTHWISE(NAME##_3_1_8, T, 4, (specialized<T, 3, 1, 8>))        \
    CONV_DEPTHWISE(NAME##_3_1_2, T, 4, (specialized<T, 3, 1, 2>))        \
    CONV_DEPTHWISE(NAME##_3_2_4, T, 4, (specialized<T, 3, 2, 4>))        \
    CONV_DEPTHWISE(NAME##_3_2_1, T, 4, (specialized<T, 3, 2, 1>))        \
    CONV_DEPTHWISE(NAME##_5_1_4, T, 4, (specialized<T, 5, 1, 4>))        \
    CONV_DEPTHWISE(NAME##_5_2_2, T, 4, (specialized<T, 5, 2, 2>))        \
    CONV_DEPTHWISE(NAME##_7_1_4, T, 3, (specialized<T, 7, 1, 4>))

CONV_DEPTHWISE_SPECIALIZED(conv_depthwise_f32, float)
CONV_DEPTHWISE_SPECIALIZED(conv_depthwise_f16, __half)
CONV_DEPTHWISE_SPECIALIZED(conv_depthwise_bf16, __nv_bfloat16)
CONV_DEPTHWISE(conv_depthwise_f32, float, 8, general)
CONV_DEPTHWISE(conv_depthwise_f64, double, 8, general)
CONV_DEPTHWISE(conv_depthwise_f16, __half, 8, general)
CONV_DEPTHWISE(conv_depthwise_bf16, __nv_bfloat16, 8, general)
