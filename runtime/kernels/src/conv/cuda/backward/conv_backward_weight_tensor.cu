// The gradient of the weight on tensor cores, from packed operands: an implicit GEMM over the pixels of the batch,
// split into parts, as in conv_backward_weight.cu. The columns are [tap, padded input channel].
#include "block_sum.cuh"
#include "conv_backward.cuh"
#include "tensor_tile.cuh"

namespace {

// Copies the stages of the gradient, [group][image][pixel][output channels] (the left operand of the product), and of
// the input under each tap, [group][image][pixel][input channels] (the right operand). A thread copies one chunk of
// channels (16 bytes) of each operand, for some pixels of the stage.
template <class Tile> class WeightSource {
    using T = typename Tile::T;
    using Layout = DepthInColumns<T>;
    // The number of chunks of each operand for one pixel.
    static constexpr int LEFT_CHUNKS = Tile::ROWS / Tile::CHUNK, RIGHT_CHUNKS = Tile::COLUMNS / Tile::CHUNK;
    // The number of pixels of each operand that the block copies together, and the number that a thread copies.
    static constexpr int LEFT_SWEEP = Tile::THREADS / LEFT_CHUNKS, RIGHT_SWEEP = Tile::THREADS / RIGHT_CHUNKS;
    static constexpr int LEFT = Tile::DEPTH / LEFT_SWEEP, RIGHT = Tile::DEPTH / RIGHT_SWEEP;
    static_assert(LEFT * LEFT_SWEEP == Tile::DEPTH && RIGHT * RIGHT_SWEEP == Tile::DEPTH,
                  "all threads copy equally many pixels");

    const Conv &conv;
    const T *grad, *input;
    const int grad_channels, input_channels;   // the number of channels in a group, with padding
    const int end;                             // the end of the part of the pixels
    int pixel;                                 // the first pixel of the next stage
    bool left_valid, right_valid;              // whether the thread's chunk of each operand exists
    int tap_y, tap_x;                          // output [y, x] reads input [y · stride_y + tap_y, x · stride_x + tap_x]
    Cursor cursors[RIGHT];                     // the output pixels for which the thread copies inputs

    static __device__ __forceinline__ int left_pixel(int i) { return threadIdx.x / LEFT_CHUNKS + i * LEFT_SWEEP; }
    static __device__ __forceinline__ int right_pixel(int i) { return threadIdx.x / RIGHT_CHUNKS + i * RIGHT_SWEEP; }

  public:
    __device__ WeightSource(const Conv &conv, const WeightTile &at, const T *grad_, const T *input_, int grad_channels,
                            int input_channels, int first, int end)
        : conv(conv), grad(grad_), input(input_), grad_channels(grad_channels), input_channels(input_channels),
          end(end), pixel(first) {
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) cursors[i] = Cursor(conv, first + right_pixel(i), Tile::DEPTH);
        const int channel = at.channel + threadIdx.x % LEFT_CHUNKS * Tile::CHUNK;
        left_valid = channel < grad_channels;
        grad += (size_t)at.group * conv.batch * conv.out_plane() * grad_channels + (left_valid ? channel : 0);
        const int column = at.column + threadIdx.x % RIGHT_CHUNKS * Tile::CHUNK, tap = column / input_channels;
        right_valid = tap < conv.taps();
        tap_y = tap / conv.kernel_x * conv.dilation_y - conv.padding_y;
        tap_x = tap % conv.kernel_x * conv.dilation_x - conv.padding_x;
        input += (size_t)at.group * conv.batch * conv.plane() * input_channels + column % input_channels;
    }

    // Starts the copies of the next stage.
    __device__ __forceinline__ void copy(Chunk *left, Chunk *right) {
        #pragma unroll
        for (int i = 0; i < LEFT; i++) {
            const int at = pixel + left_pixel(i);
            const bool valid = left_valid && at < end;
            const T *from = valid ? grad + (size_t)at * grad_channels : grad;
            cp_async16(left + Layout::template at<Tile::ROWS>(left_pixel(i), threadIdx.x % LEFT_CHUNKS), from, valid);
        }
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            Cursor &at = cursors[i];
            const int y = at.row * conv.stride_y + tap_y, x = at.column * conv.stride_x + tap_x;
            const bool in_bounds = y >= 0 && y < conv.height && x >= 0 && x < conv.width;
            const bool valid = right_valid && in_bounds && pixel + right_pixel(i) < end;
            const size_t offset = (size_t)at.image * conv.plane() + y * conv.width + x;
            const T *from = valid ? input + offset * input_channels : input;
            Chunk *to = right + Layout::template at<Tile::COLUMNS>(right_pixel(i), threadIdx.x % RIGHT_CHUNKS);
            cp_async16(to, from, valid);
            at.advance(conv);
        }
        pixel += Tile::DEPTH;
    }
};

// `parts` receives the sums of each part, [part, output channel, tap, padded input channel].
template <class Tile, class T>
__device__ void weight_gradient(const T *grad, const T *input, float *parts, const Conv &conv, int grad_channels,
                                int input_channels, int part_pixels, int channel_tiles, int column_tiles) {
    DYN_SHARED(Chunk, shared);
    const WeightTile at(conv, Tile::ROWS, Tile::COLUMNS, channel_tiles, column_tiles);
    const int first = at.part * part_pixels;
    const int end = min(first + part_pixels, conv.batch * conv.out_plane());

    Tile tile;
    WeightSource<Tile> source(conv, at, grad, input, grad_channels, input_channels, first, end);
    tile.template multiply<DepthInColumns<T>>(shared, source, (end - first + Tile::DEPTH - 1) / Tile::DEPTH);

    const int width = conv.taps() * input_channels;
    parts += ((size_t)at.part * conv.groups + at.group) * conv.group_out_channels * width;
    #pragma unroll
    for (int i = 0; i < Tile::HIGH * 2; i++) {
        const int channel = at.channel + Tile::row(i / 2, i % 2 * 2);
        #pragma unroll
        for (int j = 0; j < Tile::WIDE; j++) {
            const int column = at.column + Tile::column(j, 0);
            // The width is even, so either both columns of the pair exist or neither does.
            if (channel >= conv.group_out_channels || column >= width) continue;
            const float(&sum)[4] = tile.sums[i / 2][j];
            store_vector<2, float>(parts + (size_t)channel * width + column, {sum[i % 2 * 2], sum[i % 2 * 2 + 1]});
        }
    }
}

// Adds the parts, [part_count, filter, tap, padded channel], in a fixed order. `result` is [filter, channel, tap].
template <class T>
__device__ void sum_parts(const float *parts, T *result, int filters, int taps, int channels, int padded,
                          int part_count) {
    __shared__ float scratch[SUM_HEIGHT][SUM_WIDTH];
    const int count = filters * taps * channels, i = blockIdx.x * SUM_WIDTH + threadIdx.x % SUM_WIDTH;
    const int at = min(i, count - 1), channel = at % channels;
    const int tap = at / channels % taps, filter = at / channels / taps;
    const size_t width = (size_t)taps * padded;
    const float *first = parts + filter * width + tap * padded + channel;
    const float sum = sum_of_parts(first, filters * width, part_count, scratch);
    if (threadIdx.x < SUM_WIDTH && i < count) store(result + ((size_t)filter * channels + channel) * taps + tap, sum);
}

}  // namespace

#define WEIGHT_KERNEL(name, T, Tile)                                                                                   \
    extern "C" __global__ void __launch_bounds__(Tile<T>::THREADS, 2) conv_backward_weight_tensor_##name(              \
        const T *grad, const T *input, float *parts, Conv conv, int grad_channels, int input_channels,                 \
        int part_pixels, int channel_tiles, int column_tiles) {                                                        \
        weight_gradient<Tile<T>>(grad, input, parts, conv, grad_channels, input_channels, part_pixels, channel_tiles,  \
                                 column_tiles);                                                                        \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_weight_tensor_##name)

#define WEIGHT_KERNELS(name, T)                                                                                        \
    WEIGHT_KERNEL(narrow_##name, T, NarrowTensor)                                                                      \
    WEIGHT_KERNEL(medium_##name, T, MediumTensor)                                                                      \
    WEIGHT_KERNEL(wide_##name, T, WideTensor)                                                                          \
    WEIGHT_KERNEL(large_##name, T, LargeTensor)                                                                        \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) conv_backward_weight_tensor_sum_##name(                  \
        const float *parts, T *result, int filters, int taps, int channels, int padded, int part_count) {              \
        sum_parts<T>(parts, result, filters, taps, channels, padded, part_count);                                      \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_weight_tensor_sum_##name)

WEIGHT_KERNELS(f32, float)
WEIGHT_KERNELS(f16, __half)
WEIGHT_KERNELS(bf16, __nv_bfloat16)
