// Convolution as an implicit GEMM with `wgmma`, on compute capability 9.0: TF32, f16 and bf16, summed in f32.
//
// A block's tile is 128 output channels × PIXELS positions (`padded_layout.cuh`). Two warps transpose the input in
// shared memory, from planes to contiguous channels of each pixel, once for all taps. Two warpgroups multiply the
// weight with the transposed input, tap by tap. Each tap reads the same pixels at a different offset.
#pragma once
#include "../epilogue.cuh"
#include "../tiles.cuh"
#include "multiply.cuh"

// A block's tile. Its `pixel` is the first position of the tile, and `image` is the image of this position.
struct PositionTile : BlockTile {
    int image;

    __device__ __forceinline__ PositionTile(const PaddedLayout &p, int tile_channels, int tile_positions)
        : BlockTile(GridPartition{p.channel_tiles, p.position_tiles, 1, 0}, tile_channels, tile_positions),
          image(pixel / p.image) {}
};

template <class Stages>
__device__ __forceinline__ void prepare(const Stages &stages, const PaddedLayout &p, const ConvSizes &s,
                                        const PositionTile &block) {
    if (threadIdx.x == 0) stages.make_barriers();
    for (int i = threadIdx.x; i < p.phases * p.rows * p.runs_per_row; i += Stages::THREADS)
        stages.runs[i] = run_of(p, s, block.pixel, block.image, i);
    for (int i = threadIdx.x; i < Stages::PIXELS; i += Stages::THREADS)
        stages.outputs[i] = output_of(p, s, block.pixel + i, block.image);
    // Loads write only positions of pixels. The positions between rows and images therefore stay zero.
    const int zeros = stages.input_stages * stages.input_bytes() / 16;
    for (int i = threadIdx.x; i < zeros; i += Stages::THREADS)
        store_vector(reinterpret_cast<float *>(stages.inputs) + i * 4, Vector<float, 4>{});
    fence_async_proxy();
    __syncthreads();
}

// Applies the epilogue to the tile of sums and stores it. Requires that all products are complete, because the sums,
// [CHANNELS, SUMS_ROW], overwrite the stages.
template <class Stages>
__device__ __forceinline__ void store_positions(const Stages &stages, const Epilogue<typename Stages::T> &f,
                                                const ConvSizes &s, const PositionTile &block,
                                                const float (&sums)[Stages::PIXELS / 2]) {
    constexpr int SUMS_ROW = Stages::PIXELS + SUMS_PAD, STEP = Stages::MULTIPLIERS / Stages::PIXELS, TOGETHER = 4;
    float *rows = reinterpret_cast<float *>(stages.weights);
    named_barrier_sync<1, Stages::MULTIPLIERS>();
    const int thread = threadIdx.x, lane = thread % 32;
#pragma unroll
    for (int i = 0; i < Stages::PIXELS / 2; i += 2) {
        const int row = thread / 32 * 16 + i / 2 % 2 * 8 + lane / 4, column = i / 4 * 8 + lane % 4 * 2;
        store_vector(rows + row * SUMS_ROW + column, Vector<float, 2>{{sums[i], sums[i + 1]}});
    }
    named_barrier_sync<1, Stages::MULTIPLIERS>();
    const int column = thread % Stages::PIXELS, at = stages.outputs[column];
    if (at < 0) return;
    const size_t pixel = (size_t)block.image * s.out_channels * s.plane + at;
    const int first = block.group * s.group_out_channels + block.channel;
    const int count = min(Stages::CHANNELS, s.group_out_channels - block.channel);
    int row = thread / Stages::PIXELS;
#pragma unroll 1
    for (; row + (TOGETHER - 1) * STEP < count; row += TOGETHER * STEP) {
        float v[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; i++) v[i] = rows[(row + i * STEP) * SUMS_ROW + column];
        store_column<TOGETHER, STEP>(f, first + row, pixel, s.plane, v);
    }
#pragma unroll 1
    for (; row < count; row += STEP) {
        float v[1] = {rows[row * SUMS_ROW + column]};
        store_column<1, STEP>(f, first + row, pixel, s.plane, v);
    }
}

template <class Stages>
__device__ __forceinline__ void convolve_by_warpgroups(const typename Stages::T *__restrict__ input,
                                                       const typename Stages::T *__restrict__ packed,
                                                       const Epilogue<typename Stages::T> &f, const ConvSizes &s,
                                                       const PaddedLayout &p, const Taps &taps) {
    DYN_SHARED(unsigned char, memory);
    const Stages stages(memory, p);
    const PositionTile block(p, Stages::CHANNELS, Stages::PIXELS);
    prepare(stages, p, s, block);
    // The index of the warp, read from its lane 0, so that the compiler knows that warps do not diverge.
    if (__shfl_sync(~0u, threadIdx.x / 32, 0) >= Stages::MULTIPLIERS / 32) {
        const size_t first = (size_t)block.image * s.in_channels + block.group * s.group_in_channels;
        const int plane = s.height * s.width;
        load_inputs(stages, p, input + first * plane, s.group_in_channels, plane);
        return;
    }
    const int tap_count = s.kernel_height * s.kernel_width;
    const size_t tile = block.group * p.channel_tiles + block.channel / Stages::CHANNELS;
    packed += tile * p.chunks * tap_count * (Stages::WEIGHT_BYTES / sizeof(*packed));
    float sums[Stages::PIXELS / 2] = {};
    multiply(stages, p, taps, tap_count, packed, sums);
    store_positions(stages, f, s, block, sums);
}

#define CONV_HOPPER(NAME, T, PIXELS)                                                                             \
    extern "C" __global__ void __launch_bounds__((Staged<T, PIXELS>::THREADS), (Staged<T, PIXELS>::BLOCKS))      \
        NAME(const T *input, const T *packed, const T *scale, const T *shift, const T *residual, T *output,      \
             const __grid_constant__ ConvSizes sizes, const __grid_constant__ PaddedLayout layout,               \
             const __grid_constant__ Taps taps, int activation, double parameter) {                              \
        const Epilogue<T> f{scale, shift, residual, output, nullptr, activation, (float)parameter};              \
        convolve_by_warpgroups<Staged<T, PIXELS>>(input, packed, f, sizes, layout, taps);                        \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)
