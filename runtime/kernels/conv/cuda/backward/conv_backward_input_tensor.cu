// The gradient of the input on tensor cores, of packed operands: for each phase of the stride an implicit GEMM,
// as in conv_backward_input.cu.
#include "conv_backward.cuh"
#include "tensor_tile.cuh"

namespace {

// Copies the stages of the weight, [group][tap][input channel][output channels], and of the gradient,
// [group][image][pixel][output channels]. The depth is made of taps of `chunks` chunks each; a thread keeps to one
// chunk of the four of a stage, and to some rows.
template <class Tile> class InputSource {
    using T = typename Tile::T;
    static constexpr int SWEEP = Tile::THREADS / DEPTH_CHUNKS;
    static constexpr int LEFT = Tile::ROWS / SWEEP, RIGHT = Tile::COLUMNS / SWEEP;
    static_assert(LEFT * SWEEP == Tile::ROWS && RIGHT * SWEEP == Tile::COLUMNS, "whole sweeps");

    const Conv &conv;
    const Phase &phase;
    const InputTile &at;
    const T *weight, *grad;
    const int chunks;
    int chunk, tap_y = 0, tap_x = 0;   // where in the depth
    int rows[RIGHT], columns[RIGHT];   // of the pixels where a tap with j = 0 meets them
    size_t images[RIGHT];              // where theirs begin in the gradient, in pixels

    __device__ __forceinline__ void settle() {
        while (chunk >= chunks) {
            chunk -= chunks;
            if (++tap_x == phase.x.taps) tap_x = 0, tap_y++;
        }
    }

  public:
    __device__ InputSource(const Conv &conv, const Phase &phase, const InputTile &at, const T *weight, const T *grad,
                           int chunks)
        : conv(conv), phase(phase), at(at), weight(weight), grad(grad), chunks(chunks),
          chunk(threadIdx.x % DEPTH_CHUNKS) {
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const int pixel = at.pixel + threadIdx.x / DEPTH_CHUNKS + i * SWEEP;
            const PhasePixel it(phase, pixel);
            const bool inside = pixel < phase.pixels(conv);
            rows[i] = inside ? phase.y.base + it.row : -1;
            columns[i] = phase.x.base + it.column;
            images[i] = inside ? ((size_t)at.group * conv.batch + it.image) * conv.out_plane() : 0;
        }
    }

    __device__ __forceinline__ void copy(Chunk *left, Chunk *right) {
        settle();
        const bool any = tap_y < phase.y.taps;
        const int thread_chunk = threadIdx.x % DEPTH_CHUNKS, channels = chunks * Tile::CHUNK;
        const int tap = (phase.y.first + tap_y * phase.y.step) * conv.kernel_x + phase.x.first + tap_x * phase.x.step;
        #pragma unroll
        for (int i = 0; i < LEFT; i++) {
            const int row = threadIdx.x / DEPTH_CHUNKS + i * SWEEP, channel = at.channel + row;
            const bool valid = any && channel < conv.inputs;
            const size_t filter = ((size_t)at.group * conv.taps() + tap) * conv.inputs + channel;
            const T *from = valid ? weight + filter * channels + chunk * Tile::CHUNK : weight;
            cp_async16(left + DepthInRows::at(row, thread_chunk), from, valid);
        }
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const int y = rows[i] - tap_y * phase.y.back, x = columns[i] - tap_x * phase.x.back;
            const bool valid = any && y >= 0 && y < conv.out_height && x >= 0 && x < conv.out_width;
            const size_t pixel = images[i] + (size_t)y * conv.out_width + x;
            const T *from = valid ? grad + pixel * channels + chunk * Tile::CHUNK : grad;
            cp_async16(right + DepthInRows::at(threadIdx.x / DEPTH_CHUNKS + i * SWEEP, thread_chunk), from, valid);
        }
        chunk += DEPTH_CHUNKS;
    }
};

template <class Tile, class T>
__device__ void input_gradient(const T *grad, const T *weight, const T *bias, T *result, const Conv &conv, int chunks,
                               int channel_tiles, int pixel_tiles) {
    DYN_SHARED(Chunk, shared);
    const InputTile at(conv, Tile::ROWS, Tile::COLUMNS, channel_tiles, pixel_tiles);
    const Phase phase(conv, at.phase);
    if (at.pixel >= phase.pixels(conv)) return;        // the whole block: other phases have more pixels

    Tile tile;
    InputSource<Tile> source(conv, phase, at, weight, grad, chunks);
    tile.template multiply<DepthInRows>(shared, source, (phase.taps() * chunks + DEPTH_CHUNKS - 1) / DEPTH_CHUNKS);

    #pragma unroll
    for (int j = 0; j < Tile::WIDE * 2; j++) {
        const int pixel = at.pixel + Tile::column(j / 2, j % 2);
        if (pixel >= phase.pixels(conv)) continue;
        const PhasePixel it(phase, pixel);
        T *to = result + ((size_t)it.image * conv.groups + at.group) * conv.inputs * conv.plane() +
                it.position(conv, phase);
        #pragma unroll
        for (int i = 0; i < Tile::HIGH * 2; i++) {
            const int channel = at.channel + Tile::row(i / 2, i % 2 * 2);
            if (channel >= conv.inputs) continue;
            const float shift = bias ? load(bias + at.group * conv.inputs + channel) : 0.f;
            store(to + (size_t)channel * conv.plane(), tile.sums[i / 2][j / 2][i % 2 * 2 + j % 2] + shift);
        }
    }
}

}  // namespace

// Without tensor cores (below compute capability 8.0) the plan does not ask for these kernels.
#define INPUT_KERNEL(name, T, Tile)                                                                                    \
    extern "C" __global__ void __launch_bounds__(Tile<T>::THREADS) conv_backward_input_tensor_##name(                  \
        const T *grad, const T *weight, const T *bias, T *result, Conv conv, int chunks, int channel_tiles,            \
        int pixel_tiles) {                                                                                             \
        input_gradient<Tile<T>>(grad, weight, bias, result, conv, chunks, channel_tiles, pixel_tiles);                 \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_input_tensor_##name)

INPUT_KERNEL(narrow_f32, float, NarrowTensor)
INPUT_KERNEL(narrow_f16, __half, NarrowTensor)
INPUT_KERNEL(narrow_bf16, __nv_bfloat16, NarrowTensor)
INPUT_KERNEL(medium_f32, float, MediumTensor)
INPUT_KERNEL(medium_f16, __half, MediumTensor)
INPUT_KERNEL(medium_bf16, __nv_bfloat16, MediumTensor)
INPUT_KERNEL(large_f32, float, LargeTensor)
INPUT_KERNEL(large_f16, __half, LargeTensor)
INPUT_KERNEL(large_bf16, __nv_bfloat16, LargeTensor)
