// A matrix product [ROWS, depth] · [depth, COLUMNS] on tensor cores. Asynchronous copies bring the operands to stages
// in shared memory, in chunks of 16 bytes: eight halves, or four floats that are already rounded to TF32. For every
// type, one instruction multiplies two chunks of the depth. Each operand of a stage is stored in one of two layouts:
// `DepthInRows` or `DepthInColumns`. In both, "row" also means a column of the right operand.
#pragma once
#include "../../../cuda/element.cuh"
#include "../../../cuda/mma.cuh"

struct __align__(16) Chunk {
    uint32_t words[4];
};

template <class T> __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_half<T>(d, a, b);
}
template <> __device__ __forceinline__ void mma<float>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_tf32(d, a, b);
}

// Rounds to the type that the tensor cores read.
template <class T> __device__ __forceinline__ T rounded(float value) { return narrow<T>(value); }
template <> __device__ __forceinline__ float rounded<float>(float value) { return __int_as_float(to_tf32(value)); }

static const int STAGES = 3;       // the number of stages of the pipeline
static const int DEPTH_CHUNKS = 4; // the depth of a stage, in chunks

// A warp computes HIGH × WIDE fragments of 16 × 8 sums each.
template <class T_, int ROWS_, int COLUMNS_, int WARP_ROWS, int WARP_COLUMNS> struct TensorTile {
    using T = T_;
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr int CHUNK = 16 / sizeof(T), DEPTH = DEPTH_CHUNKS * CHUNK;
    // The number of warps along the columns, and the number of threads in a block.
    static constexpr int ACROSS = COLUMNS / WARP_COLUMNS, THREADS = ROWS / WARP_ROWS * ACROSS * 32;
    static constexpr int HIGH = WARP_ROWS / 16, WIDE = WARP_COLUMNS / 8;
    static_assert(WIDE % 2 == 0, "fragments of columns are loaded in pairs");
    // The numbers of chunks of the left operand, of the right operand and of both in a stage.
    static constexpr int LEFT = ROWS * DEPTH_CHUNKS, RIGHT = COLUMNS * DEPTH_CHUNKS, STAGE = LEFT + RIGHT;

    float sums[HIGH][WIDE][4];

    __device__ TensorTile() {
        #pragma unroll
        for (int i = 0; i < HIGH; i++)
            #pragma unroll
            for (int j = 0; j < WIDE; j++)
                #pragma unroll
                for (int k = 0; k < 4; k++) sums[i][j][k] = 0;
    }

    // The first row and column of the warp's part of the tile.
    static __device__ __forceinline__ int warp_row() { return threadIdx.x / 32 / ACROSS * WARP_ROWS; }
    static __device__ __forceinline__ int warp_column() { return threadIdx.x / 32 % ACROSS * WARP_COLUMNS; }
    // The row and column of the thread's sum [i][j][k] in the block's tile.
    static __device__ __forceinline__ int row(int i, int k) {
        return warp_row() + i * 16 + threadIdx.x % 32 / 4 + k / 2 * 8;
    }
    static __device__ __forceinline__ int column(int j, int k) {
        return warp_column() + j * 8 + threadIdx.x % 4 * 2 + k % 2;
    }

    // Multiplies `steps` stages. `source.copy(left, right)` starts the copies of the next stage. `Layout` reads
    // fragments from a stage.
    template <class Layout, class Source>
    __device__ __forceinline__ void multiply(Chunk *shared, Source &source, int steps) {
        #pragma unroll
        for (int i = 0; i < STAGES - 1; i++) {
            if (i < steps) source.copy(shared + i * STAGE, shared + i * STAGE + LEFT);
            cp_async_commit();
        }
        for (int i = 0; i < steps; i++) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();       // this stage's copies of all threads are complete, and the previous stage is free
            const int next = (i + STAGES - 1) % STAGES;
            if (i + STAGES - 1 < steps) source.copy(shared + next * STAGE, shared + next * STAGE + LEFT);
            cp_async_commit();
            const Chunk *left = shared + i % STAGES * STAGE;
            stage<Layout>(left, left + LEFT);
        }
    }

    // Calls `take(row, sum)` with the sums of column `threadIdx.x % COLUMNS` of the tile, so that a warp has 32
    // neighboring columns. The threads of a column share its rows. The sums pass through the shared memory of the
    // stages, some fragments at a time.
    template <class Take> __device__ __forceinline__ void for_each_row(Chunk *stages, Take take) const {
        // The numbers of fragments, along the rows, and of rows that a warp writes in a pass.
        constexpr int PASS = HIGH < 2 ? HIGH : 2, PASS_ROWS = PASS * 16;
        // The length of a row in shared memory. The padding places the rows of a fragment in different banks.
        constexpr int PITCH = COLUMNS + 8;
        static_assert(ROWS / WARP_ROWS * PASS_ROWS * PITCH * 4 <= STAGES * STAGE * 16, "a pass fits in the stages");
        static_assert(THREADS % COLUMNS == 0, "a thread has the same column in every row");
        float *shared = reinterpret_cast<float *>(stages);
        #pragma unroll
        for (int first = 0; first < HIGH; first += PASS) {
            __syncthreads();       // no thread reads the last stage or the previous pass anymore
            #pragma unroll
            for (int i = 0; i < PASS * 2; i++)
                #pragma unroll
                for (int j = 0; j < WIDE; j++) {
                    const int row = warp_row() / WARP_ROWS * PASS_ROWS + i * 8 + threadIdx.x % 32 / 4;
                    const float(&sum)[4] = sums[first + i / 2][j];
                    store_vector<2, float>(shared + row * PITCH + column(j, 0), {sum[i % 2 * 2], sum[i % 2 * 2 + 1]});
                }
            __syncthreads();
            for (int row = threadIdx.x / COLUMNS; row < ROWS / WARP_ROWS * PASS_ROWS; row += THREADS / COLUMNS) {
                const int tile_row = row / PASS_ROWS * WARP_ROWS + first * 16 + row % PASS_ROWS;
                take(tile_row, shared[row * PITCH + threadIdx.x % COLUMNS]);
            }
        }
    }

  private:
    template <class Layout> __device__ __forceinline__ void stage(const Chunk *left, const Chunk *right) {
        #pragma unroll
        for (int chunk = 0; chunk < DEPTH_CHUNKS; chunk += 2) {
            uint32_t a[HIGH][4], b[WIDE][2];
            #pragma unroll
            for (int i = 0; i < HIGH; i++) Layout::template left<ROWS>(a[i], left, warp_row() + i * 16, chunk);
            #pragma unroll
            for (int j = 0; j < WIDE; j += 2)
                Layout::template right<COLUMNS>(b[j], b[j + 1], right, warp_column() + j * 8, chunk);
            #pragma unroll
            for (int i = 0; i < HIGH; i++)
                #pragma unroll
                for (int j = 0; j < WIDE; j++) mma<T>(sums[i][j], a[i], b[j]);
        }
    }
};

// The layout [row][chunk of the depth]. The four chunks of a row are swizzled, so that a chunk has different banks in
// eight consecutive rows.
struct DepthInRows {
    static __device__ __forceinline__ int at(int row, int chunk) {
        return row * DEPTH_CHUNKS + (chunk ^ (row / 2 % DEPTH_CHUNKS));
    }

    template <int>
    static __device__ __forceinline__ void left(uint32_t (&a)[4], const Chunk *from, int row, int chunk) {
        const int lane = threadIdx.x % 32;
        ldmatrix_x4(a, from + at(row + lane % 16, chunk + lane / 16));
    }

    template <int>
    static __device__ __forceinline__ void right(uint32_t (&b)[2], uint32_t (&c)[2], const Chunk *from, int row,
                                                 int chunk) {
        const int lane = threadIdx.x % 32;
        uint32_t both[4];
        ldmatrix_x4(both, from + at(row + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2));
        b[0] = both[0], b[1] = both[1], c[0] = both[2], c[1] = both[3];
    }
};

// The layout [depth][chunk of rows]. Fragments are transposed when they are read.
template <class T> struct DepthInColumns {
    static constexpr int CHUNK = 16 / sizeof(T);

    template <int ROWS> static __device__ __forceinline__ int at(int depth, int chunk) {
        return depth * (ROWS / CHUNK) + (chunk ^ swizzle(depth, ROWS / CHUNK));
    }

    template <int ROWS>
    static __device__ __forceinline__ void left(uint32_t (&a)[4], const Chunk *from, int row, int chunk) {
        const int lane = threadIdx.x % 32, depth = chunk * CHUNK + lane / 16 * 8 + lane % 8;
        ldmatrix_x4_trans(a, from + at<ROWS>(depth, row / CHUNK + lane / 8 % 2));
    }

    template <int ROWS>
    static __device__ __forceinline__ void right(uint32_t (&b)[2], uint32_t (&c)[2], const Chunk *from, int row,
                                                 int chunk) {
        const int lane = threadIdx.x % 32, depth = chunk * CHUNK + lane % 16;
        uint32_t both[4];
        ldmatrix_x4_trans(both, from + at<ROWS>(depth, row / CHUNK + lane / 16));
        b[0] = both[0], b[1] = both[1], c[0] = both[2], c[1] = both[3];
    }

  private:
    // Returns the number that is XORed with the index of a chunk, so that a chunk has different banks at eight
    // consecutive indices of the depth.
    static __device__ __forceinline__ int swizzle(int depth, int chunks) {
        return chunks < 8 ? depth / (8 / chunks) % chunks : depth % 8;
    }
};

// ldmatrix cannot transpose floats, so each thread reads its own elements.
template <> struct DepthInColumns<float> {
    template <int ROWS> static __device__ __forceinline__ int at(int depth, int chunk) {
        // A pair of chunks has different banks at four consecutive indices of the depth.
        return depth * (ROWS / 4) + (chunk ^ depth % 4 * 2);
    }

    template <int ROWS>
    static __device__ __forceinline__ void left(uint32_t (&a)[4], const Chunk *from, int row, int chunk) {
        const int depth = chunk * 4 + threadIdx.x % 4, at_row = row + threadIdx.x % 32 / 4;
        a[0] = word<ROWS>(from, depth, at_row), a[1] = word<ROWS>(from, depth, at_row + 8);
        a[2] = word<ROWS>(from, depth + 4, at_row), a[3] = word<ROWS>(from, depth + 4, at_row + 8);
    }

    template <int ROWS>
    static __device__ __forceinline__ void right(uint32_t (&b)[2], uint32_t (&c)[2], const Chunk *from, int row,
                                                 int chunk) {
        const int depth = chunk * 4 + threadIdx.x % 4, at_row = row + threadIdx.x % 32 / 4;
        b[0] = word<ROWS>(from, depth, at_row), b[1] = word<ROWS>(from, depth + 4, at_row);
        c[0] = word<ROWS>(from, depth, at_row + 8), c[1] = word<ROWS>(from, depth + 4, at_row + 8);
    }

  private:
    template <int ROWS> static __device__ __forceinline__ uint32_t word(const Chunk *from, int depth, int row) {
        return from[at<ROWS>(depth, row / 4)].words[row % 4];
    }
};

// See `Tile` in `choice.rs`.
template <class T> using NarrowTensor = TensorTile<T, 32, 128, 32, 32>;
template <class T> using MediumTensor = TensorTile<T, 64, 64, 32, 32>;
template <class T> using WideTensor = TensorTile<T, 64, 128, 32, 64>;
template <class T> using LargeTensor = TensorTile<T, 128, 128, 64, 32>;
