// Convolution as an implicit GEMM on CUDA cores: f32 and f64, and the 16-bit types if tensor cores are not used. Each
// thread keeps a tile of accumulators. Shared memory is double-buffered, and the elements of the next step wait in
// registers while the current step is multiplied.
#include "epilogue.cuh"
#include "gather.cuh"
#include "tiles.cuh"

// A block's tile of CHANNELS × PIXELS accumulators. Each thread has TALL × WIDE quads of 4×4 accumulators. A step of
// the loop multiplies STEP columns of the weight with STEP rows of the im2col matrix (`gather.cuh`).
template <class Element, int CHANNELS_, int PIXELS_, int STEP_, int THREAD_CHANNELS, int THREAD_PIXELS>
struct ScalarTile {
    using T = Element;
    using A = Accumulator<T>;
    static constexpr int CHANNELS = CHANNELS_, PIXELS = PIXELS_, STEP = STEP_;
    static constexpr int TALL = THREAD_CHANNELS / 4, WIDE = THREAD_PIXELS / 4;
    // The threads of a block are arranged as [DOWN, ACROSS].
    static constexpr int ACROSS = PIXELS / THREAD_PIXELS, DOWN = CHANNELS / THREAD_CHANNELS;
    static constexpr int THREADS = ACROSS * DOWN;
    // The length of a row of the weight in shared memory, [STEP, WEIGHT_ROW]. The padding distributes the stores of a
    // column over the banks.
    static constexpr int WEIGHT_ROW = CHANNELS + 4;
    // The numbers of elements of the weight and of the input that a thread copies in a step.
    static constexpr int WEIGHTS = STEP * CHANNELS / THREADS, INPUTS = STEP * PIXELS / THREADS;
    static_assert(THREADS % STEP == 0 && THREADS % PIXELS == 0, "a thread copies one column of each operand");
    static_assert(WEIGHTS * THREADS == STEP * CHANNELS && INPUTS * THREADS == STEP * PIXELS,
                  "all threads copy equally many elements");

    // One buffer of operands in shared memory.
    struct Operands {
        A weight[STEP * WEIGHT_ROW];
        A input[STEP * PIXELS];
    };
    // After the last step, the same memory holds sums. In pass i < TALL, each thread writes its i-th row of quads to
    // this memory. All threads then store these DOWN × 4 rows of pixels in the output.
    static constexpr int PASS_ROWS = DOWN * 4;
    union Memory {
        struct { Operands operands[2]; Tap taps[2][STEP]; Row rows[STEP]; } loop;
        A sums[PASS_ROWS * (PIXELS + SUMS_PAD)];
    };
};

// Adds the products of a step to the sums of the thread in column `x` and row `y` of the block.
template <class Tile>
__device__ __forceinline__ void multiply(const typename Tile::Operands &o, int x, int y,
                                         typename Tile::A (&sums)[Tile::TALL * 4][Tile::WIDE * 4]) {
    using A = typename Tile::A;
#pragma unroll
    for (int k = 0; k < Tile::STEP; k++) {
        Run<A> weight[Tile::TALL], input[Tile::WIDE];
#pragma unroll
        for (int i = 0; i < Tile::TALL; i++)
            weight[i] = *reinterpret_cast<const Run<A> *>(&o.weight[k * Tile::WEIGHT_ROW + (i * Tile::DOWN + y) * 4]);
#pragma unroll
        for (int j = 0; j < Tile::WIDE; j++)
            input[j] = *reinterpret_cast<const Run<A> *>(&o.input[k * Tile::PIXELS + (j * Tile::ACROSS + x) * 4]);
#pragma unroll
        for (int i = 0; i < Tile::TALL * 4; i++)
#pragma unroll
            for (int j = 0; j < Tile::WIDE * 4; j++)
                sums[i][j] += weight[i / 4].at[i % 4] * input[j / 4].at[j % 4];
    }
}

template <class Tile>
__device__ __forceinline__ void convolve(const typename Tile::T *__restrict__ input,
                                         const typename Tile::T *__restrict__ weight,
                                         const Epilogue<typename Tile::T> &f, const ConvSizes &s,
                                         const GridPartition &partition, const RowStep &row_step) {
    using T = typename Tile::T;
    using A = typename Tile::A;
    constexpr int STEP = Tile::STEP;
    DYN_SHARED(typename Tile::Memory, memory);
    auto &loop = memory->loop;

    const int thread = threadIdx.x;
    const BlockTile block(partition, Tile::CHANNELS, Tile::PIXELS);
    const int first = block.slice * partition.slice_steps;
    const int all = (s.depth + STEP - 1) / STEP;
    const int steps = min(partition.slice_steps, all - first);

    // In each step, this thread copies WEIGHTS channels of one column of the weight, and INPUTS rows of one column
    // (a pixel) of the im2col matrix.
    const int weight_k = thread % STEP, weight_m = thread / STEP;
    const int input_n = thread % Tile::PIXELS, input_k = thread / Tile::PIXELS;
    const Pixel<T> pixel(input, s, block.group, block.pixel + input_n);
    const T *rows = weight + ((size_t)block.group * s.group_out_channels + block.channel) * s.depth;
    // The number of the group's output channels, counted from the first channel of the tile.
    const int channels = s.group_out_channels - block.channel;
    T held_weight[Tile::WEIGHTS], held_input[Tile::INPUTS];

    // Thread t < STEP writes the tap of row t of each step. It keeps the row's index in shared memory, because the sums
    // need the registers.
    if (thread < STEP) loop.rows[thread] = Row(first * STEP + thread, s.kernel_height, s.kernel_width);
    const auto write_taps = [&](int step) {
        if (thread >= STEP) return;
        Row row = loop.rows[thread];
        loop.taps[step & 1][thread] = tap_of(s, row);
        row.advance(row_step, s.kernel_height, s.kernel_width);
        loop.rows[thread] = row;
    };
    const auto fetch = [&](int step) {
        const int k = (first + step) * STEP + weight_k;
#pragma unroll
        for (int i = 0; i < Tile::WEIGHTS; i++) {
            const int m = weight_m + i * (Tile::THREADS / STEP);
            held_weight[i] = k < s.depth && m < channels ? rows[m * s.depth + k] : narrow<T>(A(0));
        }
#pragma unroll
        for (int i = 0; i < Tile::INPUTS; i++) {
            const Tap tap = loop.taps[step & 1][input_k + i * (Tile::THREADS / Tile::PIXELS)];
            held_input[i] = pixel.in_bounds(tap, s) ? *pixel.at(tap) : narrow<T>(A(0));
        }
    };
    const auto commit = [&](typename Tile::Operands &o) {
#pragma unroll
        for (int i = 0; i < Tile::WEIGHTS; i++)
            o.weight[weight_k * Tile::WEIGHT_ROW + weight_m + i * (Tile::THREADS / STEP)] = widen(held_weight[i]);
#pragma unroll
        for (int i = 0; i < Tile::INPUTS; i++)
            o.input[(input_k + i * (Tile::THREADS / Tile::PIXELS)) * Tile::PIXELS + input_n] = widen(held_input[i]);
    };

    const int x = thread % Tile::ACROSS, y = thread / Tile::ACROSS;
    A sums[Tile::TALL * 4][Tile::WIDE * 4] = {};
    write_taps(0);
    write_taps(1);
    __syncthreads();
    if (steps > 0) {
        fetch(0);
        commit(loop.operands[0]);
    }
    __syncthreads();
    for (int step = 0; step < steps; step++) {
        // The taps of this step were read before the last barrier, so the taps of `step + 2` can replace them.
        write_taps(step + 2);
        if (step + 1 < steps) fetch(step + 1);
        multiply<Tile>(loop.operands[step & 1], x, y, sums);
        if (step + 1 < steps) commit(loop.operands[(step + 1) & 1]);
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < Tile::TALL; i++) {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < Tile::WIDE; j++) {
                Run<A> run;
#pragma unroll
                for (int c = 0; c < 4; c++) run.at[c] = sums[i * 4 + r][j * 4 + c];
                const int row = y * 4 + r, column = (j * Tile::ACROSS + x) * 4;
                *reinterpret_cast<Run<A> *>(&memory->sums[row * (Tile::PIXELS + SUMS_PAD) + column]) = run;
            }
        __syncthreads();
        const int start = block.group * s.group_out_channels;
        store_tile<T, Tile::PASS_ROWS, Tile::PIXELS, Tile::THREADS>(
            f, s, memory->sums, start + block.channel + i * Tile::PASS_ROWS, start + s.group_out_channels, block.pixel,
            block.slice);
        __syncthreads();
    }
}

#define CONV_SCALAR(NAME, T, BLOCKS, ...)                                                                        \
    extern "C" __global__ void __launch_bounds__((ScalarTile<T, __VA_ARGS__>::THREADS), BLOCKS)                  \
        NAME(const T *input, const T *weight, const T *scale, const T *shift, const T *residual, T *output,      \
             Accumulator<T> *partial, ConvSizes sizes, GridPartition partition, RowStep step, int activation,    \
             double parameter) {                                                                                 \
        const Epilogue<T> f{scale, shift, residual, output, partial, activation, (Accumulator<T>)parameter};     \
        convolve<ScalarTile<T, __VA_ARGS__>>(input, weight, f, sizes, partition, step);                          \
    }                                                                                                            \
    EXPORT_KERNEL(NAME)

//                  name, type, blocks per multiprocessor, channels, pixels, step, channels and pixels of a thread
CONV_SCALAR(conv_scalar_f32_128x128, float, 2, 128, 128, 8, 8, 8)
CONV_SCALAR(conv_scalar_f32_64x128, float, 2, 64, 128, 16, 4, 8)
CONV_SCALAR(conv_scalar_f32_64x64, float, 3, 64, 64, 16, 4, 4)
CONV_SCALAR(conv_scalar_f32_32x128, float, 3, 32, 128, 16, 4, 4)
CONV_SCALAR(conv_scalar_f64_64x64, double, 2, 64, 64, 8, 4, 4)
CONV_SCALAR(conv_scalar_f16_64x64, __half, 3, 64, 64, 16, 4, 4)
CONV_SCALAR(conv_scalar_bf16_64x64, __nv_bfloat16, 3, 64, 64, 16, 4, 4)
