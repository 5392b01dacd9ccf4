// The gradient of the input on CUDA cores: for each phase of the stride, an implicit GEMM of the weight
// [input channels, taps · output channels] with the masked gradient [taps · output channels, pixels]. With a bias and
// without a mask, this kernel computes the forward pass of a transposed convolution.
#include "conv_backward.cuh"
#include "register_tile.cuh"

namespace {

const int DEPTH = 8;        // the number of output channels in a step

// The position of the loop in the depth: the tap of the phase and the first output channel of the current step.
struct InputSteps {
    int tap_y = 0, tap_x = 0, output = 0;

    __device__ void advance(const Conv &conv, const Phase &phase) {
        output += DEPTH;
        if (output < conv.group_out_channels) return;
        output = 0;
        if (++tap_x < phase.x.taps) return;
        tap_x = 0, tap_y++;
    }
};

template <class T, class Tile> class InputGradient {
    // The numbers of weights and of gradients that a thread reads in a step.
    static constexpr int WEIGHTS = (Tile::ROWS * DEPTH + Tile::THREADS - 1) / Tile::THREADS;
    static constexpr int GRADS = Tile::COLUMNS * DEPTH / Tile::THREADS;
    // The number of output channels (rows of the gradient) that the block reads together.
    static constexpr int GRAD_ROWS = Tile::THREADS / Tile::COLUMNS;
    static_assert(Tile::THREADS % Tile::COLUMNS == 0 && GRADS * GRAD_ROWS == DEPTH,
                  "all threads read equally many gradients");

    const Conv &conv;
    const Phase &phase;
    const InputTile &at;
    Masked<T> grad;
    const T *weight;
    int row, column;               // the output that reads this thread's pixel under the phase's tap j = 0
    bool inside;                   // whether this thread's pixel exists
    size_t image;                  // the offset of the pixel's image and group in the gradient
    Accumulator<T> weights[WEIGHTS], grads[GRADS];

  public:
    __device__ InputGradient(const Conv &conv, const Phase &phase, const InputTile &at, Masked<T> grad, const T *weight)
        : conv(conv), phase(phase), at(at), grad(grad), weight(weight) {
        const int pixel = at.pixel + threadIdx.x % Tile::COLUMNS;
        const PhasePixel phase_pixel(phase, pixel);
        inside = pixel < phase.pixels(conv);
        row = phase.y.base + phase_pixel.row, column = phase.x.base + phase_pixel.column;
        image = ((size_t)phase_pixel.image * conv.groups + at.group) * conv.group_out_channels * conv.out_plane();
    }

    // Reads the operands of a step into registers.
    __device__ void fetch(const InputSteps &step) {
        const int tap = (phase.y.first + step.tap_y * phase.y.step) * conv.kernel_x +
                        phase.x.first + step.tap_x * phase.x.step;
        #pragma unroll
        for (int i = 0; i < WEIGHTS; i++) {
            const int element = threadIdx.x + i * Tile::THREADS;
            const int channel = at.channel + element % Tile::ROWS, output = step.output + element / Tile::ROWS;
            const bool exists = channel < conv.group_in_channels && output < conv.group_out_channels;
            const bool valid = element < Tile::ROWS * DEPTH && exists;
            const size_t filter_row = (size_t)at.group * conv.group_out_channels + output;
            const size_t filter = filter_row * conv.group_in_channels + channel;
            weights[i] = valid ? load(weight + filter * conv.taps() + tap) : Accumulator<T>(0);
        }
        const int y = row - step.tap_y * phase.y.back, x = column - step.tap_x * phase.x.back;
        const bool in_bounds = inside && y >= 0 && y < conv.out_height && x >= 0 && x < conv.out_width;
        #pragma unroll
        for (int i = 0; i < GRADS; i++) {
            const int output = step.output + threadIdx.x / Tile::COLUMNS + i * GRAD_ROWS;
            const size_t pixel = image + (size_t)output * conv.out_plane() + y * conv.out_width + x;
            grads[i] = in_bounds && output < conv.group_out_channels ? grad[pixel] : Accumulator<T>(0);
        }
    }

    // Stores the weights to `a` and the gradients to `b`, in shared memory.
    __device__ void store(Accumulator<T> (&a)[DEPTH][Tile::ROWS], Accumulator<T> (&b)[DEPTH][Tile::COLUMNS]) const {
        #pragma unroll
        for (int i = 0; i < WEIGHTS; i++) {
            const int element = threadIdx.x + i * Tile::THREADS;
            if (element < Tile::ROWS * DEPTH) a[element / Tile::ROWS][element % Tile::ROWS] = weights[i];
        }
        #pragma unroll
        for (int i = 0; i < GRADS; i++)
            b[threadIdx.x / Tile::COLUMNS + i * GRAD_ROWS][threadIdx.x % Tile::COLUMNS] = grads[i];
    }
};

template <class T, class Tile>
__device__ void input_gradient(Masked<T> grad, const T *weight, const T *bias, T *result, const Conv &conv,
                               int channel_tiles, int pixel_tiles) {
    __shared__ __align__(16) Accumulator<T> a[2][DEPTH][Tile::ROWS];
    __shared__ __align__(16) Accumulator<T> b[2][DEPTH][Tile::COLUMNS];
    const InputTile at(conv, Tile::ROWS, Tile::COLUMNS, channel_tiles, pixel_tiles);
    const Phase phase(conv, at.phase);
    // All threads of the block return: the grid is sized for the largest phase, and other phases may need fewer blocks.
    if (at.pixel >= phase.pixels(conv)) return;

    Tile tile;
    InputGradient<T, Tile> operands(conv, phase, at, grad, weight);
    InputSteps step;
    const int steps = phase.taps() * ((conv.group_out_channels + DEPTH - 1) / DEPTH);
    if (steps) {
        operands.fetch(step);
        operands.store(a[0], b[0]);
    }
    for (int i = 0; i < steps; i++) {
        __syncthreads();
        step.advance(conv, phase);
        if (i + 1 < steps) operands.fetch(step);
        tile.multiply(a[i % 2], b[i % 2]);
        if (i + 1 < steps) operands.store(a[(i + 1) % 2], b[(i + 1) % 2]);
    }

    #pragma unroll
    for (int j = 0; j < Tile::WIDE; j++) {
        const int pixel = at.pixel + Tile::column(j);
        if (pixel >= phase.pixels(conv)) continue;
        const PhasePixel phase_pixel(phase, pixel);
        T *to = result + ((size_t)phase_pixel.image * conv.groups + at.group) * conv.group_in_channels * conv.plane() +
                phase_pixel.position(conv, phase);
        #pragma unroll
        for (int i = 0; i < Tile::HIGH; i++) {
            const int channel = at.channel + Tile::row(i);
            if (channel >= conv.group_in_channels) continue;
            const int in_channel = at.group * conv.group_in_channels + channel;
            const Accumulator<T> shift = bias ? load(bias + in_channel) : Accumulator<T>(0);
            store(to + (size_t)channel * conv.plane(), tile.sums[i][j] + shift);
        }
    }
}

}  // namespace

#define INPUT_KERNEL(name, T, Tile)                                                                                    \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::BLOCKS) conv_backward_input_##name(              \
        const T *grad, const T *output, const T *weight, const T *bias, T *result, Conv conv, int activation,          \
        double parameter, int channel_tiles, int pixel_tiles) {                                                        \
        const Masked<T> masked = {grad, output, activation, (Accumulator<T>)parameter};                                \
        input_gradient<T, Tile>(masked, weight, bias, result, conv, channel_tiles, pixel_tiles);                       \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_input_##name)

INPUT_KERNEL(narrow_f32, float, Narrow<float>)
INPUT_KERNEL(narrow_f64, double, Narrow<double>)
INPUT_KERNEL(narrow_f16, __half, Narrow<float>)
INPUT_KERNEL(narrow_bf16, __nv_bfloat16, Narrow<float>)
INPUT_KERNEL(medium_f32, float, Medium<float>)
INPUT_KERNEL(medium_f64, double, Medium<double>)
INPUT_KERNEL(medium_f16, __half, Medium<float>)
INPUT_KERNEL(medium_bf16, __nv_bfloat16, Medium<float>)
INPUT_KERNEL(wide_f32, float, Wide<float>)
INPUT_KERNEL(wide_f16, __half, Wide<float>)
INPUT_KERNEL(wide_bf16, __nv_bfloat16, Wide<float>)
INPUT_KERNEL(large_f32, float, Large<float>)
INPUT_KERNEL(large_f16, __half, Large<float>)
INPUT_KERNEL(large_bf16, __nv_bfloat16, Large<float>)
