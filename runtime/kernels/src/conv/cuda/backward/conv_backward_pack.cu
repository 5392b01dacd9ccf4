// Packs the operands of the tensor-core kernels, which copy chunks of 16 bytes: for each pixel (or tap), the channels
// of a group are contiguous and padded with zeros to whole chunks. Also masks the gradient.
#include "conv_backward.cuh"
#include "tensor_tile.cuh"

namespace {

const int ROWS = 32, COLUMNS = 64;   // the size of the tile that a block packs
const int THREADS = 256;             // the number of threads in a block

// Transposes matrices: `from` is [matrices, groups, rows, columns], and `to` is [groups, matrices, columns, padded].
// `padded` is the number of rows, rounded up to whole chunks. The columns are [columns / taps, taps] in `from` and
// [taps, columns / taps] in `to`.
template <class T, class Packed>
__device__ void pack(Masked<T> from, Packed *to, int rows, int columns, int padded, int matrices, int groups,
                     int taps) {
    __shared__ float tile[COLUMNS][ROWS + 1];
    const int column_tiles = (columns + COLUMNS - 1) / COLUMNS, row_tiles = (padded + ROWS - 1) / ROWS;
    const int column = blockIdx.x % column_tiles * COLUMNS, row = blockIdx.x / column_tiles % row_tiles * ROWS;
    const int matrix = blockIdx.x / column_tiles / row_tiles;

    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += THREADS) {
        const int r = i / COLUMNS, c = i % COLUMNS;
        const bool valid = row + r < rows && column + c < columns;
        tile[c][r] = valid ? from[((size_t)matrix * rows + row + r) * columns + column + c] : 0.f;
    }
    __syncthreads();
    // A thread writes one chunk.
    constexpr int CHUNK = WIDEST<Packed>, CHUNKS = ROWS / CHUNK;
    to += ((size_t)matrix % groups * matrices + matrix / groups) * columns * padded;
    for (int i = threadIdx.x; i < CHUNKS * COLUMNS; i += THREADS) {
        const int r = i % CHUNKS * CHUNK, c = column + i / CHUNKS;
        if (row + r >= padded || c >= columns) continue;
        const int packed_column = taps == 1 ? c : c % taps * (columns / taps) + c / taps;
        Vector<Packed, CHUNK> chunk;
        #pragma unroll
        for (int k = 0; k < CHUNK; k++) chunk.at[k] = rounded<Packed>(tile[i / CHUNKS][r + k]);
        store_vector(to + (size_t)packed_column * padded + row + r, chunk);
    }
}

}  // namespace

#define PACK_KERNEL(name, T)                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS) conv_backward_pack_##name(                                   \
        const T *from, const T *output, T *to, int activation, double parameter, int rows, int columns, int padded,    \
        int matrices, int groups, int taps) {                                                                          \
        const Masked<T> masked = {from, output, activation, (Accumulator<T>)parameter};                                \
        pack<T, T>(masked, to, rows, columns, padded, matrices, groups, taps);                                         \
    }                                                                                                                  \
    EXPORT_KERNEL(conv_backward_pack_##name)

PACK_KERNEL(f32, float)
PACK_KERNEL(f16, __half)
PACK_KERNEL(bf16, __nv_bfloat16)
