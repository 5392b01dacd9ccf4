// Packs the weight of a convolution for `conv_hopper.cuh` as [group, channel tile, chunk, tap][stage], padded with
// zeros. The contents of a stage are [CHUNK_VECTORS, CHANNELS] vectors of 16 bytes of input channels.
#include "load.cuh"

constexpr int PACK_THREADS = 256;

// A thread packs one vector of each group. Neighboring threads pack neighboring taps, which are contiguous in the
// weight.
template <class T>
__device__ __forceinline__ void pack(const T *__restrict__ weight, T *__restrict__ packed, const ConvSizes &s,
                                     const PaddedLayout &p) {
    using Stages = Staged<T, 128>;
    constexpr int VECTOR_CHANNELS = Stages::VECTOR_CHANNELS;
    const int taps = s.kernel_height * s.kernel_width, vectors = p.chunks * Stages::CHUNK_VECTORS;
    const int per_channel = vectors * taps;
    const int i = blockIdx.x * PACK_THREADS + threadIdx.x;
    if (i >= p.channel_tiles * Stages::CHANNELS * per_channel) return;
    const int out_channel = i / per_channel, rest = i - out_channel * per_channel;
    const int vector = rest / taps, tap = rest - vector * taps;
    const int tile = out_channel / Stages::CHANNELS, row = out_channel % Stages::CHANNELS;
    for (int group = blockIdx.y; group < s.groups; group += gridDim.y) {
        Vector<T, VECTOR_CHANNELS> values;
#pragma unroll
        for (int e = 0; e < VECTOR_CHANNELS; e++) {
            const int channel = vector * VECTOR_CHANNELS + e;
            const bool inside = out_channel < s.group_out_channels && channel < s.group_in_channels;
            const size_t out = (size_t)group * s.group_out_channels + out_channel;
            values.at[e] = inside ? round_operand(weight[out * s.depth + channel * taps + tap]) : narrow<T>(0.f);
        }
        const size_t chunk = (size_t)(group * p.channel_tiles + tile) * p.chunks + vector / Stages::CHUNK_VECTORS;
        const size_t stage = chunk * taps + tap;
        const size_t at = (stage * Stages::CHUNK_VECTORS + vector % Stages::CHUNK_VECTORS) * Stages::CHANNELS + row;
        store_vector(packed + at * VECTOR_CHANNELS, values);
    }
}

#define CONV_HOPPER_PACK(NAME, T)                                                                  \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                                     \
        conv_hopper_pack_##NAME(const T *weight, T *packed, const __grid_constant__ ConvSizes sizes, \
                                const __grid_constant__ PaddedLayout layout) {                     \
        pack(weight, packed, sizes, layout);                                                       \
    }                                                                                              \
    EXPORT_KERNEL(conv_hopper_pack_##NAME)

CONV_HOPPER_PACK(tf32, float)
CONV_HOPPER_PACK(f16, __half)
CONV_HOPPER_PACK(bf16, __nv_bfloat16)
