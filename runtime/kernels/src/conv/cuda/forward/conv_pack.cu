// Packs the input and the weight of a convolution for kernels that read contiguous channels of a pixel. Pads the
// channels of each group with zeros to a multiple of 16 bytes. For the other tensor-core kernels, `pad_rows` pads the
// rows of the weight.
#include "input_rows.cuh"
#include "../../../cuda/portable.cuh"

constexpr int PACK_PIXELS = 64, PACK_CHANNELS = 64, PACK_THREADS = 256;

// Packs [batch, groups, group_in_channels, height · width] as [batch, groups, height · width, channels]. A block
// transposes a tile in shared memory: it reads along the pixels and writes along the channels.
template <class T>
__device__ __forceinline__ void pack_input(const T *__restrict__ input, T *__restrict__ packed, const ConvSizes &s) {
    constexpr int PER_COPY = 16 / sizeof(T), PARTS = PACK_CHANNELS / PER_COPY;
    // A row is padded by one 4-byte word, so that the elements of a column are in different banks.
    constexpr int ROW = PACK_PIXELS + 4 / sizeof(T);
    DYN_SHARED(T, tile);  // [PACK_CHANNELS, ROW]
    const int channels = packed_channels<T>(s), plane = s.height * s.width;
    const int channel_tiles = (channels + PACK_CHANNELS - 1) / PACK_CHANNELS;
    const int pixel_tiles = (plane + PACK_PIXELS - 1) / PACK_PIXELS;
    int block = blockIdx.x;
    const int channel = block % channel_tiles * PACK_CHANNELS;
    block /= channel_tiles;
    const int pixel = block % pixel_tiles * PACK_PIXELS;
    const size_t group = block / pixel_tiles;  // an index in [batch, groups]
    input += group * s.group_in_channels * plane;
    packed += group * plane * channels;

    const int column = threadIdx.x % PACK_PIXELS;
#pragma unroll 4
    for (int row = threadIdx.x / PACK_PIXELS; row < PACK_CHANNELS; row += PACK_THREADS / PACK_PIXELS) {
        const bool valid = channel + row < s.group_in_channels && pixel + column < plane;
        tile[row * ROW + column] = valid ? input[(channel + row) * plane + pixel + column] : narrow<T>(0.f);
    }
    __syncthreads();
    const int part = threadIdx.x % PARTS * PER_COPY;
    if (channel + part >= channels) return;
    for (int p = threadIdx.x / PARTS; p < PACK_PIXELS && pixel + p < plane; p += PACK_THREADS / PARTS) {
        Vector<T, PER_COPY> elements;
#pragma unroll
        for (int i = 0; i < PER_COPY; i++) elements.at[i] = tile[(part + i) * ROW + p];
        store_vector(packed + (size_t)(pixel + p) * channels + channel + part, elements);
    }
}

// Packs [out_channels, group_in_channels, taps] as [out_channels, taps, channels].
template <class T>
__device__ __forceinline__ void pack_weight(const T *__restrict__ weight, T *__restrict__ packed, const ConvSizes &s) {
    const int channels = packed_channels<T>(s), taps = s.kernel_height * s.kernel_width;
    const int element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= taps * channels) return;
    const int tap = element / channels, channel = element - tap * channels;
    for (int out = blockIdx.y; out < s.out_channels; out += gridDim.y) {
        const T *from = weight + (size_t)out * s.depth;
        packed[(size_t)out * taps * channels + element] =
            channel < s.group_in_channels ? from[channel * taps + tap] : narrow<T>(0.f);
    }
}

// Pads [out_channels, depth] to [out_channels, row], because rows with an odd number of 2-byte elements cannot be
// copied in 4-byte words.
template <class T>
__device__ __forceinline__ void pad_rows(const T *__restrict__ weight, T *__restrict__ padded, const ConvSizes &s,
                                         int row) {
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= row) return;
    for (int out = blockIdx.y; out < s.out_channels; out += gridDim.y)
        padded[(size_t)out * row + k] = k < s.depth ? weight[(size_t)out * s.depth + k] : narrow<T>(0.f);
}

#define CONV_PACK(NAME, T)                                                                        \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                                    \
        conv_pack_input_##NAME(const T *input, T *packed, ConvSizes sizes) {                      \
        pack_input(input, packed, sizes);                                                         \
    }                                                                                             \
    EXPORT_KERNEL(conv_pack_input_##NAME)                                                         \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                                    \
        conv_pack_weight_##NAME(const T *weight, T *packed, ConvSizes sizes) {                    \
        pack_weight(weight, packed, sizes);                                                       \
    }                                                                                             \
    EXPORT_KERNEL(conv_pack_weight_##NAME)

CONV_PACK(f32, float)
CONV_PACK(f16, __half)
CONV_PACK(bf16, __nv_bfloat16)

#define CONV_PAD(NAME, T)                                                                         \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                                    \
        conv_pad_weight_##NAME(const T *weight, T *padded, ConvSizes sizes, int row) {            \
        pad_rows(weight, padded, sizes, row);                                                     \
    }                                                                                             \
    EXPORT_KERNEL(conv_pad_weight_##NAME)

CONV_PAD(f16, __half)
CONV_PAD(bf16, __nv_bfloat16)
