// Convolution with short sums: the first layer of a network (1 or 3 input channels) and narrow groups. A tile of
// a matrix product would mostly be padding there. The block's weights lie in shared memory, whole; a thread keeps
// two pixels of all the tile's channels, reads each input element once, and multiplies it with every channel's
// weight, which all threads of a warp read at the same time from the same place.
#include "finish.cuh"
#include "gather.cuh"
#include "tiles.cuh"

template <class Element, int CHANNELS_> struct DirectTile {
    using T = Element;
    static constexpr int CHANNELS = CHANNELS_, THREADS = 128, EACH = 2, PIXELS = THREADS * EACH;
    static constexpr int QUADS = CHANNELS / 4;
    // A row of the weights in shared memory: the pad spreads a channel's column, which is stored by the threads of a
    // warp at a time, over the banks.
    static constexpr int ROW = CHANNELS + 4;
};

template <class Tile>
__device__ __forceinline__ void convolve(const typename Tile::T *__restrict__ input,
                                         const typename Tile::T *__restrict__ weight,
                                         const Finish<typename Tile::T> &f, const ConvSizes &s, const Cut &cut) {
    using T = typename Tile::T;
    using A = Accumulator<T>;
    constexpr int CHANNELS = Tile::CHANNELS, THREADS = Tile::THREADS, EACH = Tile::EACH;
    // The weights [depth, ROW] and the taps [depth]; after the loop, the tile of sums.
    DYN_SHARED(A, weights);
    Tap *taps = reinterpret_cast<Tap *>(weights + s.depth * Tile::ROW);

    const int thread = threadIdx.x;
    const Place place(cut, CHANNELS, Tile::PIXELS);
    const int channels = s.group_outputs - place.channel;  // that are left for this tile
    const T *rows = weight + ((size_t)place.group * s.group_outputs + place.channel) * s.depth;
    for (int k = thread; k < s.depth; k += THREADS) {
        taps[k] = tap_of(s, Row(k, s.kernel_height, s.kernel_width));
#pragma unroll
        for (int m = 0; m < CHANNELS; m++)
            weights[k * Tile::ROW + m] = m < channels ? load(rows + m * s.depth + k) : A(0);
    }
    __syncthreads();

    const Pixel<T> pixels[EACH] = {{input, s, place.group, place.pixel + thread},
                                   {input, s, place.group, place.pixel + thread + THREADS}};
    A sums[EACH][CHANNELS] = {};
#pragma unroll 4
    for (int k = 0; k < s.depth; k++) {
        const Tap tap = taps[k];
        A value[EACH];
#pragma unroll
        for (int e = 0; e < EACH; e++) value[e] = pixels[e].meets(tap, s) ? load(pixels[e].at(tap)) : A(0);
#pragma unroll
        for (int q = 0; q < Tile::QUADS; q++) {
            const Run<A> w = *reinterpret_cast<const Run<A> *>(weights + k * Tile::ROW + q * 4);
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int e = 0; e < EACH; e++) sums[e][q * 4 + m] += w.at[m] * value[e];
        }
    }

    __syncthreads();
#pragma unroll
    for (int m = 0; m < CHANNELS; m++)
#pragma unroll
        for (int e = 0; e < EACH; e++)
            weights[m * (Tile::PIXELS + FINISH_PAD) + thread + e * THREADS] = sums[e][m];
    __syncthreads();
    const int start = place.group * s.group_outputs;
    finish_tile<T, CHANNELS, Tile::PIXELS, THREADS>(f, s, weights, start + place.channel, start + s.group_outputs,
                                                    place.pixel, 0);
}

#define CONV_DIRECT(NAME, T, CHANNELS)                                                                           \
    extern "C" __global__ void __launch_bounds__(128, 3)                                                          \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             ConvSizes sizes, Cut cut, int activation, double parameter) {                                       \
        const Finish<T> f{scale, shift, residual, output, nullptr, activation, (Accumulator<T>)parameter};       \
        convolve<DirectTile<T, CHANNELS>>(input, weight, f, sizes, cut);                                         \
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
