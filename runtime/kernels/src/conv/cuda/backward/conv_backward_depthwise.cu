// The gradients of a depthwise convolution: one input channel per group and any number of output channels.
#include "block_sum.cuh"
#include "conv_backward.cuh"

namespace {

const int TAPS = 9;         // the number of taps whose sums a thread keeps in registers

// Finds the outputs that read an input position on one axis. `STRIDE` is the stride if it is known at compile time,
// else 0.
template <int STRIDE> struct OutputIndex {
    int stride, dilation;
    int padded;                    // the input position, counted from the start of the padding

    __device__ OutputIndex(int position, int stride, int dilation, int padding)
        : stride(STRIDE ? STRIDE : stride), dilation(dilation), padded(position + padding) {}

    // Returns the output that reads the position under a tap, or a negative number if none of the `count` outputs does.
    __device__ int output(int tap, int count) const {
        const int at = padded - tap * dilation;
        if (STRIDE == 1) return at < count ? at : -1;
        if (at < 0 || at % stride != 0) return -1;
        return at / stride < count ? at / stride : -1;
    }
};

// A thread computes one input pixel. All threads of a block compute pixels of one plane, so they share the filters.
template <class T, int STRIDE>
__device__ void depthwise_input(Masked<T> grad, const T *weight, const T *bias, T *result, const Conv &conv,
                                int pixel_tiles) {
    const unsigned plane = blockIdx.x / pixel_tiles;   // an index in [batch, input channels]
    const int channel = plane % conv.groups;
    const int pixel = blockIdx.x % pixel_tiles * SUM_THREADS + threadIdx.x;
    if (pixel >= conv.plane()) return;
    const int row = pixel / conv.width;
    const OutputIndex<STRIDE> y(row, conv.stride_y, conv.dilation_y, conv.padding_y);
    const OutputIndex<STRIDE> x(pixel - row * conv.width, conv.stride_x, conv.dilation_x, conv.padding_x);

    Accumulator<T> sum = bias ? load(bias + channel) : Accumulator<T>(0);
    for (int output = 0; output < conv.group_out_channels; output++) {
        const size_t from = ((size_t)plane * conv.group_out_channels + output) * conv.out_plane();
        const T *filter = weight + (size_t)(channel * conv.group_out_channels + output) * conv.taps();
        for (int i = 0; i < conv.kernel_y; i++) {
            const int at_y = y.output(i, conv.out_height);
            if (at_y < 0) continue;
            for (int j = 0; j < conv.kernel_x; j++) {
                const int at_x = x.output(j, conv.out_width);
                if (at_x < 0) continue;
                sum += load(filter + i * conv.kernel_x + j) * grad[from + at_y * conv.out_width + at_x];
            }
        }
    }
    store(result + (size_t)plane * conv.plane() + pixel, sum);
}

// A block sums over one part of the batch's pixels for one output channel, TAPS taps at a time. `parts` is
// [part, output channel, tap].
template <class T>
__device__ void depthwise_weight(Masked<T> grad, const T *input, Accumulator<T> *parts, const Conv &conv,
                                 int part_pixels) {
    __shared__ Accumulator<T> scratch[TAPS][SUM_THREADS / 32];
    const int channels = conv.groups * conv.group_out_channels;
    const int channel = blockIdx.x % channels, part = blockIdx.x / channels;
    const int first = part * part_pixels, end = min(first + part_pixels, conv.batch * conv.out_plane());

    for (int start = 0; start < conv.taps(); start += TAPS) {
        const int count = min(TAPS, conv.taps() - start);
        Accumulator<T> sums[TAPS] = {};
        Cursor at(conv, first + threadIdx.x, SUM_THREADS);
        for (int pixel = first + threadIdx.x; pixel < end; pixel += SUM_THREADS, at.advance(conv)) {
            const Accumulator<T> g = grad[((size_t)at.image * channels + channel) * conv.out_plane() +
                                  at.row * conv.out_width + at.column];
            const int in_channel = channel / conv.group_out_channels;
            const T *image = input + ((size_t)at.image * conv.groups + in_channel) * conv.plane();
            int i = start / conv.kernel_x, j = start % conv.kernel_x;
            #pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
                const int y = at.row * conv.stride_y + i * conv.dilation_y - conv.padding_y;
                const int x = at.column * conv.stride_x + j * conv.dilation_x - conv.padding_x;
                const bool in_bounds = y >= 0 && y < conv.height && x >= 0 && x < conv.width;
                if (tap < count && in_bounds) sums[tap] += g * load(image + y * conv.width + x);
                if (++j == conv.kernel_x) j = 0, i++;
            }
        }
        #pragma unroll
        for (int tap = 0; tap < TAPS; tap++) {
            const Accumulator<T> sum = block_sum(sums[tap], scratch[tap]);
            const size_t to = ((size_t)part * channels + channel) * conv.taps() + start + tap;
            if (threadIdx.x == 0 && tap < count) parts[to] = sum;
        }
        __syncthreads();           // the sums of the next taps reuse the scratch memory
    }
}

}  // namespace

#define DEPTHWISE_INPUT(name, T, STRIDE)                                                                               \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) conv_backward_depthwise_input_##name(                    \
        const T *grad, const T *output, const T *weight, const T *bias, T *result, Conv conv, int activation,          \
        double parameter, int pixel_tiles) {                                                                           \
        const Masked<T> masked = {grad, output, activation, (Accumulator<T>)parameter};                                \
        depthwise_input<T, STRIDE>(masked, weight, bias, result, conv, pixel_tiles);                                   \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_depthwise_input_##name)

#define DEPTHWISE_KERNELS(name, T)                                                                                     \
    DEPTHWISE_INPUT(s1_##name, T, 1)                                                                                   \
    DEPTHWISE_INPUT(s2_##name, T, 2)                                                                                   \
    DEPTHWISE_INPUT(any_##name, T, 0)                                                                                  \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) conv_backward_depthwise_weight_##name(                   \
        const T *grad, const T *output, const T *input, Accumulator<T> *parts, Conv conv, int activation,              \
        double parameter, int part_pixels) {                                                                           \
        const Masked<T> masked = {grad, output, activation, (Accumulator<T>)parameter};                                \
        depthwise_weight<T>(masked, input, parts, conv, part_pixels);                                                  \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_depthwise_weight_##name)

DEPTHWISE_KERNELS(f32, float)
DEPTHWISE_KERNELS(f64, double)
DEPTHWISE_KERNELS(f16, __half)
DEPTHWISE_KERNELS(bf16, __nv_bfloat16)
