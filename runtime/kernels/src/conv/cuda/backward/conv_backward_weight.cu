// The gradient of the weight on CUDA cores: an implicit GEMM of the masked gradient [output channels, pixels] with the
// input under each tap [pixels, input channels · taps]. If the pixels of the batch are split into parts,
// `conv_backward_sum` adds the sums of the parts in a fixed order.
#include "conv_backward.cuh"
#include "register_tile.cuh"

namespace {

const int DEPTH = 16;       // the number of pixels in a step
const int PAD = 4;          // the padding of a row in shared memory: avoids bank conflicts and keeps vectors aligned

// A column of the matrix of inputs: a tap of an input channel. The output pixel [row, column] reads the input pixel
// [row · stride_y + y, column · stride_x + x] under this tap.
struct Column {
    int y, x, channel;
};

template <class T, class Tile> class WeightGradient {
    // The number of rows of the gradient, or of columns of the matrix of inputs, that the block reads together.
    static constexpr int SWEEP = Tile::THREADS / DEPTH;
    // The numbers of gradients and of inputs that a thread reads in a step.
    static constexpr int GRADS = (Tile::ROWS + SWEEP - 1) / SWEEP, INPUTS = Tile::COLUMNS / SWEEP;
    static_assert(Tile::COLUMNS % SWEEP == 0, "all threads read equally many inputs");

    const Conv &conv;
    const WeightTile &at;
    Masked<T> grad;
    const T *input;
    Column (&columns)[Tile::COLUMNS];
    Cursor cursor;                 // the output pixel that the thread reads next
    int end;                       // the end of the part of the pixels
    int pixel;                     // the index of the cursor's pixel in the batch
    Accumulator<T> grads[GRADS], inputs[INPUTS];

  public:
    __device__ WeightGradient(const Conv &conv, const WeightTile &at, Masked<T> grad, const T *input, int first,
                              int end, Column (&columns)[Tile::COLUMNS])
        : conv(conv), at(at), grad(grad), input(input), columns(columns),
          cursor(conv, first + threadIdx.x % DEPTH, DEPTH), end(end), pixel(first + threadIdx.x % DEPTH) {
        for (int i = threadIdx.x; i < Tile::COLUMNS; i += Tile::THREADS) {
            const int column = at.column + i, tap = column % conv.taps();
            columns[i].channel = column / conv.taps();
            columns[i].y = tap / conv.kernel_x * conv.dilation_y - conv.padding_y;
            columns[i].x = tap % conv.kernel_x * conv.dilation_x - conv.padding_x;
        }
    }

    // Reads the operands of a step into registers and advances to the next step.
    __device__ void fetch() {
        const size_t image = (size_t)cursor.image * conv.groups + at.group;
        const size_t out = image * conv.group_out_channels * conv.out_plane() +
                           cursor.row * conv.out_width + cursor.column;
        #pragma unroll
        for (int i = 0; i < GRADS; i++) {
            const int channel = at.channel + threadIdx.x / DEPTH + i * SWEEP;
            const bool valid = pixel < end && channel < conv.group_out_channels;
            grads[i] = valid ? grad[out + (size_t)channel * conv.out_plane()] : Accumulator<T>(0);
        }
        const size_t in = image * conv.group_in_channels * conv.plane();
        #pragma unroll
        for (int i = 0; i < INPUTS; i++) {
            const Column column = columns[threadIdx.x / DEPTH + i * SWEEP];
            const int y = cursor.row * conv.stride_y + column.y, x = cursor.column * conv.stride_x + column.x;
            const bool in_bounds = y >= 0 && y < conv.height && x >= 0 && x < conv.width;
            const bool valid = pixel < end && column.channel < conv.group_in_channels && in_bounds;
            inputs[i] = valid ? load(input + in + (size_t)column.channel * conv.plane() + y * conv.width + x)
                              : Accumulator<T>(0);
        }
        pixel += DEPTH;
        cursor.advance(conv);
    }

    // Stores the gradients to `a` and the inputs to `b`, in shared memory.
    __device__ void store(Accumulator<T> (&a)[DEPTH][Tile::ROWS + PAD],
                          Accumulator<T> (&b)[DEPTH][Tile::COLUMNS + PAD]) const {
        #pragma unroll
        for (int i = 0; i < GRADS; i++) {
            const int row = threadIdx.x / DEPTH + i * SWEEP;
            if (row < Tile::ROWS) a[threadIdx.x % DEPTH][row] = grads[i];
        }
        #pragma unroll
        for (int i = 0; i < INPUTS; i++) b[threadIdx.x % DEPTH][threadIdx.x / DEPTH + i * SWEEP] = inputs[i];
    }
};

// `parts` receives the sums of each part, [part, output channel, input channel, tap]. If it is null, there is one part,
// whose sums are stored to `result`.
template <class T, class Tile>
__device__ void weight_gradient(Masked<T> grad, const T *input, Accumulator<T> *parts, T *result, const Conv &conv,
                                int part_pixels, int channel_tiles, int column_tiles) {
    __shared__ __align__(16) Accumulator<T> a[2][DEPTH][Tile::ROWS + PAD];
    __shared__ __align__(16) Accumulator<T> b[2][DEPTH][Tile::COLUMNS + PAD];
    __shared__ Column columns[Tile::COLUMNS];
    const WeightTile at(conv, Tile::ROWS, Tile::COLUMNS, channel_tiles, column_tiles);
    const int first = at.part * part_pixels;
    const int end = min(first + part_pixels, conv.batch * conv.out_plane());

    Tile tile;
    WeightGradient<T, Tile> operands(conv, at, grad, input, first, end, columns);
    const int steps = (end - first + DEPTH - 1) / DEPTH;
    __syncthreads();
    operands.fetch();
    operands.store(a[0], b[0]);
    for (int i = 0; i < steps; i++) {
        __syncthreads();
        if (i + 1 < steps) operands.fetch();
        tile.multiply(a[i % 2], b[i % 2]);
        if (i + 1 < steps) operands.store(a[(i + 1) % 2], b[(i + 1) % 2]);
    }

    const int width = conv.group_in_channels * conv.taps();
    const size_t part = (size_t)at.part * conv.groups * conv.group_out_channels * width;
    #pragma unroll
    for (int i = 0; i < Tile::HIGH; i++) {
        const int channel = at.channel + Tile::row(i);
        #pragma unroll
        for (int j = 0; j < Tile::WIDE; j++) {
            const int column = at.column + Tile::column(j);
            if (channel >= conv.group_out_channels || column >= width) continue;
            const size_t to = (size_t)(at.group * conv.group_out_channels + channel) * width + column;
            if (parts) parts[part + to] = tile.sums[i][j];
            else store(result + to, tile.sums[i][j]);
        }
    }
}

}  // namespace

#define WEIGHT_KERNEL(name, T, Tile)                                                                                   \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::BLOCKS) conv_backward_weight_##name(             \
        const T *grad, const T *output, const T *input, Accumulator<T> *parts, T *result, Conv conv, int activation,   \
        double parameter, int part_pixels, int channel_tiles, int column_tiles) {                                      \
        const Masked<T> masked = {grad, output, activation, (Accumulator<T>)parameter};                                \
        weight_gradient<T, Tile>(masked, input, parts, result, conv, part_pixels, channel_tiles, column_tiles);        \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_weight_##name)

WEIGHT_KERNEL(narrow_f32, float, Narrow<float>)
WEIGHT_KERNEL(narrow_f64, double, Narrow<double>)
WEIGHT_KERNEL(narrow_f16, __half, Narrow<float>)
WEIGHT_KERNEL(narrow_bf16, __nv_bfloat16, Narrow<float>)
WEIGHT_KERNEL(medium_f32, float, Medium<float>)
WEIGHT_KERNEL(medium_f64, double, Medium<double>)
WEIGHT_KERNEL(medium_f16, __half, Medium<float>)
WEIGHT_KERNEL(medium_bf16, __nv_bfloat16, Medium<float>)
WEIGHT_KERNEL(wide_f32, float, Wide<float>)
WEIGHT_KERNEL(wide_f16, __half, Wide<float>)
WEIGHT_KERNEL(wide_bf16, __nv_bfloat16, Wide<float>)
WEIGHT_KERNEL(large_f32, float, Large<float>)
WEIGHT_KERNEL(large_f16, __half, Large<float>)
WEIGHT_KERNEL(large_bf16, __nv_bfloat16, Large<float>)
