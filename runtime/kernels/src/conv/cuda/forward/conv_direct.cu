// Direct convolution for short sums: the first layer of a network (1 or 3 input channels) and narrow groups, for which
// a tile of an implicit GEMM would mostly be padding. All weights of the block's channels are in shared memory. A
// thread computes two pixels of all channels of the tile. It reads each input element once and multiplies it with the
// weight of every channel, which all threads of a warp read from the same address.
#include "epilogue.cuh"
#include "gather.cuh"
#include "tiles.cuh"

template <class Element, int CHANNELS_> struct DirectTile {
    using T = Element;
    static constexpr int CHANNELS = CHANNELS_, THREADS = 128, THREAD_PIXELS = 2, PIXELS = THREADS * THREAD_PIXELS;
    static constexpr int QUADS = CHANNELS / 4;
    // The length of a row of the weights in shared memory, [depth, ROW]. A warp stores 32 elements of a column (the
    // weights of one channel) at once. The padding distributes them over the banks.
    static constexpr int ROW = CHANNELS + 4;
};

template <class Tile>
__device__ __forceinline__ void convolve(const typename Tile::T *__restrict__ input,
                                         const typename Tile::T *__restrict__ weight,
                                         const Epilogue<typename Tile::T> &f, const ConvSizes &s,
                                         const GridPartition &partition) {
    using T = typename Tile::T;
    using A = Accumulator<T>;
    constexpr int CHANNELS = Tile::CHANNELS, THREADS = Tile::THREADS, THREAD_PIXELS = Tile::THREAD_PIXELS;
    // The weights [depth, ROW] and the taps [depth]; after the loop, the tile of sums.
    DYN_SHARED(A, weights);
    Tap *taps = reinterpret_cast<Tap *>(weights + s.depth * Tile::ROW);

    const int thread = threadIdx.x;
    const BlockTile block(partition, CHANNELS, Tile::PIXELS);
    // The number of the group's output channels, counted from the first channel of the tile.
    const int channels = s.group_out_channels - block.channel;
    const T *rows = weight + ((size_t)block.group * s.group_out_channels + block.channel) * s.depth;
    for (int k = thread; k < s.depth; k += THREADS) {
        taps[k] = tap_of(s, Row(k, s.kernel_height, s.kernel_width));
#pragma unroll
        for (int m = 0; m < CHANNELS; m++)
            weights[k * Tile::ROW + m] = m < channels ? load(rows + m * s.depth + k) : A(0);
    }
    __syncthreads();

    const Pixel<T> pixels[THREAD_PIXELS] = {{input, s, block.group, block.pixel + thread},
                                            {input, s, block.group, block.pixel + thread + THREADS}};
    A sums[THREAD_PIXELS][CHANNELS] = {};
#pragma unroll 4
    for (int k = 0; k < s.depth; k++) {
        const Tap tap = taps[k];
        A value[THREAD_PIXELS];
#pragma unroll
        for (int e = 0; e < THREAD_PIXELS; e++) value[e] = pixels[e].in_bounds(tap, s) ? load(pixels[e].at(tap)) : A(0);
#pragma unroll
        for (int q = 0; q < Tile::QUADS; q++) {
            const Run<A> w = *reinterpret_cast<const Run<A> *>(weights + k * Tile::ROW + q * 4);
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int e = 0; e < THREAD_PIXELS; e++) sums[e][q * 4 + m] += w.at[m] * value[e];
        }
    }

    __syncthreads();
#pragma unroll
    for (int m = 0; m < CHANNELS; m++)
#pragma unroll
        for (int e = 0; e < THREAD_PIXELS; e++)
            weights[m * (Tile::PIXELS + SUMS_PAD) + thread + e * THREADS] = sums[e][m];
    __syncthreads();
    const int start = block.group * s.group_out_channels;
    store_tile<T, CHANNELS, Tile::PIXELS, THREADS>(f, s, weights, start + block.channel, start + s.group_out_channels,
                                                    block.pixel, 0);
}

#define CONV_DIRECT(NAME, T, CHANNELS)                                                                           \
    extern "C" __global__ void __launch_bounds__(128, 3)                                                          \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             ConvSizes sizes, GridPartition partition, int activation, double parameter) {                       \
        const Epilogue<T> f{scale, shift, residual, output, nullptr, activation, (Accumulator<T>)parameter};     \
        convolve<DirectTile<T, CHANNELS>>(input, weight, f, sizes, partition);                                   \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

CONV_DIRECT(conv_direct_f32_4, float, 4)
CONV_DIRECT(conv_direct_f32_8, float, 8)
CONV_DIRECT(conv_direct_f32_16, float, 16)
CONV_DIRECT(conv_direct_f32_32, float, 32)
CONV_DIRECT(conv_direct_f64_4, double, 4)
CONV_DIRECT(conv_direct_f64_8, double, 8)
CONV_DIRECT(conv_direct_f16_4, __half, 4)
CONV_DIRECT(conv_direct_f16_8, __half, 8)
CONV_DIRECT(conv_direct_f16_16, __half, 16)
CONV_DIRECT(conv_direct_f16_32, __half, 32)
CONV_DIRECT(conv_direct_bf16_4, __nv_bfloat16, 4)
CONV_DIRECT(conv_direct_bf16_8, __nv_bfloat16, 8)
CONV_DIRECT(conv_direct_bf16_16, __nv_bfloat16, 16)
CONV_DIRECT(conv_direct_bf16_32, __nv_bfloat16, 32)
