// Convolution as an implicit GEMM on tensor cores, with `mma.sync`: TF32 (from f32 operands), f16 and bf16, summed in
// f32.
//
// The stages of a ring in shared memory are filled (`weight_rows.cuh`, `input_rows.cuh`) while earlier stages are
// multiplied.
#pragma once
#include "../../../cuda/mma.cuh"
#include "epilogue.cuh"
#include "gather.cuh"
#include "input_rows.cuh"
#include "tiles.cuh"
#include "weight_rows.cuh"

// A block's tile of CHANNELS × PIXELS, divided evenly among WARPS_DOWN × WARPS_ACROSS warps.
template <class Element, int CHANNELS_, int PIXELS_, int WARPS_DOWN_, int WARPS_ACROSS_, InputAccess INPUT_>
struct MatrixTile {
    using T = Element;
    static constexpr int CHANNELS = CHANNELS_, PIXELS = PIXELS_;
    static constexpr InputAccess INPUT = INPUT_;
    static constexpr bool HALF = sizeof(T) == 2, IS_PACKED = INPUT == InputAccess::PACKED;
    static constexpr int STAGES = 3;
    static constexpr int STEP = 64 / sizeof(T);  // the part of the depth in a stage: 64 bytes of each channel's weight
    static constexpr int THREADS = WARPS_DOWN_ * WARPS_ACROSS_ * 32;
    static constexpr int WARPS_ACROSS = WARPS_ACROSS_;
    static constexpr int WARP_CHANNELS = CHANNELS / WARPS_DOWN_, WARP_PIXELS = PIXELS / WARPS_ACROSS_;
    // A warp's accumulators are TALL × WIDE fragments of 16 channels × 8 pixels, with four values per lane.
    static constexpr int TALL = WARP_CHANNELS / 16, WIDE = WARP_PIXELS / 8;
    // A stage has the weight [CHANNELS, WEIGHT_ROW] and the input: a packed input as [PIXELS, WEIGHT_ROW], any other as
    // [STEP, INPUT_ROW]. Rows are padded so that the eight rows that a warp reads together are in different banks.
    static constexpr int WEIGHT_ROW = STEP + 16 / sizeof(T), INPUT_ROW = PIXELS + 8;
    static constexpr int TAPS = IS_PACKED ? STEP * sizeof(T) / 16 : STEP;  // the number of taps in a step
    static_assert(WIDE % 2 == 0, "fragments of the input are read in pairs");

    struct __align__(16) Stage {
        T weight[CHANNELS * WEIGHT_ROW];
        T input[IS_PACKED ? PIXELS * WEIGHT_ROW : STEP * INPUT_ROW];
    };
    union Memory {
        struct { Stage stages[STAGES]; Tap taps[STAGES][TAPS]; } loop;
        float sums[WARP_CHANNELS * (PIXELS + SUMS_PAD)];  // after the loop: the sums of one row of warps at a time
    };
};

template <int N> __device__ __forceinline__ void round_to_tf32(uint32_t (&values)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) values[i] = to_tf32(__uint_as_float(values[i]));
}

// Adds the product of a stage to a warp's accumulators. `channel` and `pixel` are the warp's first channel and pixel in
// the tile.
template <class Tile>
__device__ __forceinline__ void multiply(const typename Tile::Stage &stage, int channel, int pixel,
                                         float (&sums)[Tile::TALL][Tile::WIDE][4]) {
    // A fragment of the weight is four matrices of 8 rows × 16 bytes. Lanes 0-7, 8-15, 16-23 and 24-31 each give the
    // row addresses of one matrix: channels 0-7 and channels 8-15, then both again 16 bytes further along the depth.
    // DEEP is the depth of one `mma`. A matrix row of 16 bytes has MATRIX_ROW elements, half of this depth.
    constexpr int DEEP = Tile::HALF ? 16 : 8, MATRIX_ROW = DEEP / 2;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < Tile::STEP; k += DEEP) {
        uint32_t a[Tile::TALL][4], b[Tile::WIDE][2];
#pragma unroll
        for (int i = 0; i < Tile::TALL; i++) {
            const int row = channel + i * 16 + lane % 16;
            ldmatrix_x4(a[i], &stage.weight[row * Tile::WEIGHT_ROW + k + lane / 16 * MATRIX_ROW]);
        }
        if constexpr (Tile::IS_PACKED) {
            // Two fragments: pixels 0-7 at `k` and 16 bytes further along the depth, then pixels 8-15.
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j += 2) {
                uint32_t two[4];
                const int column = pixel + j * 8 + lane / 16 * 8 + lane % 8;
                ldmatrix_x4(two, &stage.input[column * Tile::WEIGHT_ROW + k + lane / 8 % 2 * MATRIX_ROW]);
                b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
            }
        } else if constexpr (Tile::HALF) {
            // Transposed matrices of 8 rows of the depth × 8 pixels; two 16×8 fragments at a time.
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j += 2) {
                uint32_t two[4];
                ldmatrix_x4_trans(two, &stage.input[(k + lane % 16) * Tile::INPUT_ROW + pixel + j * 8 + lane / 16 * 8]);
                b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
            }
        } else {
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) {
                const auto *column = &stage.input[(k + lane % 4) * Tile::INPUT_ROW + pixel + j * 8 + lane / 4];
                b[j][0] = __float_as_uint(column[0]);
                b[j][1] = __float_as_uint(column[4 * Tile::INPUT_ROW]);
            }
        }
        if constexpr (!Tile::HALF) {
#pragma unroll
            for (int i = 0; i < Tile::TALL; i++) round_to_tf32(a[i]);
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) round_to_tf32(b[j]);
        }
#pragma unroll
        for (int i = 0; i < Tile::TALL; i++)
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) {
                if constexpr (Tile::HALF) mma_half<typename Tile::T>(sums[i][j], a[i], b[j]);
                else mma_tf32(sums[i][j], a[i], b[j]);
            }
    }
}

// `weight_row` is the number of elements of a channel's weight in memory, including padding.
template <class Tile>
__device__ __forceinline__ void convolve(const typename Tile::T *__restrict__ input,
                                         const typename Tile::T *__restrict__ weight,
                                         int weight_row, const Epilogue<typename Tile::T> &f, const ConvSizes &s,
                                         const GridPartition &partition, const RowStep &row_step) {
    using T = typename Tile::T;
    constexpr int STEP = Tile::STEP, STAGES = Tile::STAGES;
    DYN_SHARED(typename Tile::Memory, memory);
    auto &loop = memory->loop;

    const BlockTile block(partition, Tile::CHANNELS, Tile::PIXELS);
    const int first = block.slice * partition.slice_steps;
    const int channels = packed_channels<T>(s);
    const int steps = min(partition.slice_steps, (weight_row + STEP - 1) / STEP - first);
    const size_t row = (size_t)block.group * s.group_out_channels + block.channel;
    const WeightRows<T> weight_rows{weight + row * weight_row, s.group_out_channels - block.channel, weight_row};
    InputRows<Tile> input_rows(input, s, block.group, block.pixel);

    // A ring of STAGES entries holds the taps of the steps: one tap for each row of the im2col matrix or, for packed
    // operands, for each 16 bytes. The taps of a step are written after the copies of the previous step have started.
    const int middle_size = Tile::IS_PACKED ? s.kernel_width : s.kernel_height;
    const int low_size = Tile::IS_PACKED ? channels : s.kernel_width;
    Row tap_row(first * STEP + threadIdx.x * (STEP / Tile::TAPS), middle_size, low_size);
    const auto write_taps = [&](int step) {
        if (Tile::INPUT == InputAccess::DENSE || threadIdx.x >= Tile::TAPS) return;
        loop.taps[step % STAGES][threadIdx.x] =
            Tile::IS_PACKED ? packed_tap_of(s, channels, tap_row) : tap_of(s, tap_row);
        tap_row.advance(row_step, middle_size, low_size);
    };
    const auto begin = [&](int step) {
        auto &stage = loop.stages[step % STAGES];
        const int k = (first + step) * STEP;
        copy_weight<Tile>(weight_rows, k, stage.weight);
        input_rows.begin(s, input, loop.taps[step % STAGES], k, stage.input);
    };
    const auto end = [&](int step) { input_rows.end(loop.stages[step % STAGES].input); };

    const int warp = threadIdx.x / 32;
    const int warp_row = warp / Tile::WARPS_ACROSS;
    const int channel = warp_row * Tile::WARP_CHANNELS, pixel = warp % Tile::WARPS_ACROSS * Tile::WARP_PIXELS;
    float sums[Tile::TALL][Tile::WIDE][4] = {};

    for (int step = 0; step < STAGES; step++) write_taps(step);
    __syncthreads();
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) begin(step), end(step);
        cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        // The copies of this step are complete, and no thread reads the stage that is filled next.
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        const int next = step + STAGES - 1;
        if (next < steps) begin(next);
        cp_async_commit();
        write_taps(next + 1);
        multiply<Tile>(loop.stages[step % STAGES], channel, pixel, sums);
        if (next < steps) end(next);
    }
    cp_async_wait<0>();

    // One row of warps at a time writes its sums to shared memory, and all threads store them in the output.
    const int lane = threadIdx.x % 32, start = block.group * s.group_out_channels;
#pragma unroll 1
    for (int pass = 0; pass < Tile::CHANNELS / Tile::WARP_CHANNELS; pass++) {
        __syncthreads();
        if (pass == warp_row) {
#pragma unroll
            for (int i = 0; i < Tile::TALL; i++)
#pragma unroll
                for (int j = 0; j < Tile::WIDE; j++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const int r = i * 16 + h * 8 + lane / 4, c = pixel + j * 8 + lane % 4 * 2;
                        const Vector<float, 2> two{{sums[i][j][h * 2], sums[i][j][h * 2 + 1]}};
                        store_vector(&memory->sums[r * (Tile::PIXELS + SUMS_PAD) + c], two);
                    }
        }
        __syncthreads();
        store_tile<T, Tile::WARP_CHANNELS, Tile::PIXELS, Tile::THREADS>(
            f, s, memory->sums, start + block.channel + pass * Tile::WARP_CHANNELS, start + s.group_out_channels,
            block.pixel, block.slice);
    }
}

#define CONV_MATRIX(NAME, T, BLOCKS, ...)                                                                        \
    extern "C" __global__ void __launch_bounds__((MatrixTile<T, __VA_ARGS__>::THREADS), BLOCKS)                  \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             float *partial, ConvSizes sizes, GridPartition partition, RowStep step, int weight_row,             \
             int activation, double parameter) {                                                                 \
        const Epilogue<T> f{scale, shift, residual, output, partial, activation, (float)parameter};              \
        convolve<MatrixTile<T, __VA_ARGS__>>(input, weight, weight_row, f, sizes, partition, step);              \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

// The tiles of each type: blocks per multiprocessor, channels, pixels, warps along the channels and along the pixels,
// the access to the input.
#define CONV_MATRIX_TILES(NAME, T)                                                \
    CONV_MATRIX(NAME##_128x128, T, 2, 128, 128, 2, 4, InputAccess::GATHERED)      \
    CONV_MATRIX(NAME##_64x64, T, 4, 64, 64, 2, 2, InputAccess::GATHERED)          \
    CONV_MATRIX(NAME##_32x128, T, 4, 32, 128, 1, 4, InputAccess::GATHERED)        \
    CONV_MATRIX(NAME##_128x128_dense, T, 2, 128, 128, 2, 2, InputAccess::DENSE)   \
    CONV_MATRIX(NAME##_64x64_dense, T, 4, 64, 64, 2, 2, InputAccess::DENSE)       \
    CONV_MATRIX(NAME##_32x128_dense, T, 4, 32, 128, 1, 4, InputAccess::DENSE)     \
    CONV_MATRIX(NAME##_128x128_packed, T, 2, 128, 128, 2, 2, InputAccess::PACKED) \
    CONV_MATRIX(NAME##_64x128_packed, T, 3, 64, 128, 2, 2, InputAccess::PACKED)
