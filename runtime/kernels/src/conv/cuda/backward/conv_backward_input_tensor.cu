// The gradient of the input on tensor cores, from packed operands: an implicit GEMM for each phase of the stride, as in
// conv_backward_input.cu.
#include "conv_backward.cuh"
#include "tensor_tile.cuh"

namespace {

// Copies the stages of the weight, [group][tap][input channel][output channels], and of the gradient,
// [group][image][pixel][output channels]. The weight is the left operand of the product, with an input channel in each
// row. The gradient is the right operand, with a pixel in each row. The depth of both is [tap of the phase][chunk],
// with `chunks` chunks of output channels, 16 bytes each. A stage has DEPTH_CHUNKS chunks of each row. A thread copies
// one of these chunks, for some rows. Offsets are counted in chunks.
template <class Tile> class InputSource {
    // The number of rows of an operand that the block copies together.
    static constexpr int SWEEP = Tile::THREADS / DEPTH_CHUNKS;
    // The numbers of rows of the left and of the right operand that a thread copies.
    static constexpr int LEFT = Tile::ROWS / SWEEP, RIGHT = Tile::COLUMNS / SWEEP;
    static_assert(LEFT * SWEEP == Tile::ROWS && RIGHT * SWEEP == Tile::COLUMNS, "all threads copy equally many rows");

    const Conv &conv;
    const Phase &phase;
    const InputTile &at;
    const Chunk *weight, *grad;
    const int chunks;
    int chunk, tap_y = 0, tap_x = 0;           // the thread's position in the depth
    int rows[RIGHT], columns[RIGHT];           // the outputs that read the pixels under the phase's tap j = 0
    unsigned images[RIGHT];                    // the offsets of these outputs' images in the gradient
    unsigned filters[LEFT], pixels[RIGHT];     // the offsets of the next chunks in the weight and in the gradient
    unsigned valid;                            // one bit for each of these chunks, set if the chunk exists

    // Returns the first row of each operand that the thread copies.
    static __device__ __forceinline__ int first_row() { return threadIdx.x / DEPTH_CHUNKS; }

    // Computes the offsets of the chunks of the current tap.
    __device__ __forceinline__ void locate() {
        while (chunk >= chunks) {
            chunk -= chunks;
            if (++tap_x == phase.x.taps) tap_x = 0, tap_y++;
        }
        valid = 0;
        const bool has_tap = tap_y < phase.y.taps;  // false after the last tap of the phase
        const int tap = (phase.y.first + tap_y * phase.y.step) * conv.kernel_x + phase.x.first + tap_x * phase.x.step;
        #pragma unroll
        for (int i = 0; i < LEFT; i++) {
            const int channel = at.channel + first_row() + i * SWEEP;
            valid |= unsigned(has_tap && channel < conv.group_in_channels) << i;
            filters[i] = ((unsigned)(at.group * conv.taps() + tap) * conv.group_in_channels + channel) * chunks + chunk;
        }
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const int y = rows[i] - tap_y * phase.y.back, x = columns[i] - tap_x * phase.x.back;
            const bool in_bounds = has_tap && y >= 0 && y < conv.out_height && x >= 0 && x < conv.out_width;
            valid |= unsigned(in_bounds) << (LEFT + i);
            pixels[i] = images[i] + (unsigned)(y * conv.out_width + x) * chunks + chunk;
        }
    }

  public:
    __device__ InputSource(const Conv &conv, const Phase &phase, const InputTile &at, const void *weight,
                           const void *grad, int chunks)
        : conv(conv), phase(phase), at(at), weight(static_cast<const Chunk *>(weight)),
          grad(static_cast<const Chunk *>(grad)), chunks(chunks), chunk(threadIdx.x % DEPTH_CHUNKS) {
        if (phase.taps() * chunks == 0) return;        // nothing to copy
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const int pixel = at.pixel + first_row() + i * SWEEP;
            const PhasePixel phase_pixel(phase, pixel);
            // Row -1 is out of bounds for every tap.
            rows[i] = pixel < phase.pixels(conv) ? phase.y.base + phase_pixel.row : -1;
            columns[i] = phase.x.base + phase_pixel.column;
            images[i] = (unsigned)(at.group * conv.batch + phase_pixel.image) * conv.out_plane() * chunks;
        }
        locate();
    }

    // Starts the copies of the next stage.
    __device__ __forceinline__ void copy(Chunk *left, Chunk *right) {
        const int thread_chunk = threadIdx.x % DEPTH_CHUNKS;
        #pragma unroll
        for (int i = 0; i < LEFT; i++) {
            const bool exists = valid >> i & 1;
            Chunk *to = left + DepthInRows::at(first_row() + i * SWEEP, thread_chunk);
            cp_async16(to, weight + (exists ? filters[i] : 0), exists);
        }
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const bool exists = valid >> (LEFT + i) & 1;
            Chunk *to = right + DepthInRows::at(first_row() + i * SWEEP, thread_chunk);
            cp_async16(to, grad + (exists ? pixels[i] : 0), exists);
        }
        chunk += DEPTH_CHUNKS;
        if (chunk >= chunks) return locate();
        #pragma unroll
        for (int i = 0; i < LEFT; i++) filters[i] += DEPTH_CHUNKS;
        #pragma unroll
        for (int i = 0; i < RIGHT; i++) pixels[i] += DEPTH_CHUNKS;
    }
};

template <class Tile, class T>
__device__ void input_gradient(const T *grad, const T *weight, const T *bias, T *result, const Conv &conv, int chunks,
                               int channel_tiles, int pixel_tiles) {
    DYN_SHARED(Chunk, shared);
    const InputTile at(conv, Tile::ROWS, Tile::COLUMNS, channel_tiles, pixel_tiles);
    const Phase phase(conv, at.phase);
    // All threads of the block return: the grid is sized for the largest phase, and other phases may need fewer blocks.
    if (at.pixel >= phase.pixels(conv)) return;

    Tile tile;
    InputSource<Tile> source(conv, phase, at, weight, grad, chunks);
    tile.template multiply<DepthInRows>(shared, source, (phase.taps() * chunks + DEPTH_CHUNKS - 1) / DEPTH_CHUNKS);

    const int pixel = at.pixel + threadIdx.x % Tile::COLUMNS;
    const bool inside = pixel < phase.pixels(conv);
    const PhasePixel phase_pixel(phase, pixel);
    T *to = result + ((size_t)phase_pixel.image * conv.groups + at.group) * conv.group_in_channels * conv.plane() +
            phase_pixel.position(conv, phase);
    tile.for_each_row(shared, [&](int row, float sum) {
        const int channel = at.channel + row;
        if (!inside || channel >= conv.group_in_channels) return;
        const float shift = bias ? load(bias + at.group * conv.group_in_channels + channel) : 0.f;
        store(to + (size_t)channel * conv.plane(), sum + shift);
    });
}

}  // namespace

// Programs use these kernels only from compute capability 8.0 on.
#define INPUT_KERNEL(name, T, Tile)                                                                                    \
    extern "C" __global__ void __launch_bounds__(Tile<T>::THREADS, 2) conv_backward_input_tensor_##name(               \
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
INPUT_KERNEL(wide_f32, float, WideTensor)
INPUT_KERNEL(wide_f16, __half, WideTensor)
INPUT_KERNEL(wide_bf16, __nv_bfloat16, WideTensor)
INPUT_KERNEL(large_f32, float, LargeTensor)
INPUT_KERNEL(large_f16, __half, LargeTensor)
INPUT_KERNEL(large_bf16, __nv_bfloat16, LargeTensor)
