// A matrix product on CUDA cores. Each thread keeps a part of the block's tile in registers.
#pragma once
#include "../../../cuda/portable.cuh"

// HIGH × WIDE sums per thread, ROWS × COLUMNS per block. The threads of a block are arranged as [DOWN, ACROSS]. A
// thread has groups of at most four consecutive rows and groups of at most four consecutive columns. The groups are
// distributed over the block's tile so that neighboring threads read neighboring groups.
template <class A, int ROWS_, int COLUMNS_, int HIGH_, int WIDE_> struct RegisterTile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, HIGH = HIGH_, WIDE = WIDE_;
    static constexpr int ACROSS = COLUMNS / WIDE, DOWN = ROWS / HIGH, THREADS = ACROSS * DOWN;
    static constexpr int VECTOR_ROWS = HIGH < 4 ? HIGH : 4, VECTOR_COLUMNS = WIDE < 4 ? WIDE : 4;

    // Blocks per multiprocessor. With 64 sums per thread, two blocks would leave too few registers.
    static constexpr int BLOCKS = HIGH * WIDE < 64 ? 2 : 1;

    A sums[HIGH][WIDE];

    __device__ RegisterTile() {
        #pragma unroll
        for (int i = 0; i < HIGH; i++)
            #pragma unroll
            for (int j = 0; j < WIDE; j++) sums[i][j] = A(0);
    }

    // The row and the column in the block's tile of the thread's sum [i][j].
    static __device__ __forceinline__ int row(int i) {
        return i / VECTOR_ROWS * (VECTOR_ROWS * DOWN) + threadIdx.x / ACROSS * VECTOR_ROWS + i % VECTOR_ROWS;
    }
    static __device__ __forceinline__ int column(int j) {
        return j / VECTOR_COLUMNS * (VECTOR_COLUMNS * ACROSS) + threadIdx.x % ACROSS * VECTOR_COLUMNS +
               j % VECTOR_COLUMNS;
    }

    // Adds the product aᵀ · b. The rows of `a` and `b` may have padding after the tile's ROWS or COLUMNS elements.
    template <int DEPTH, int PITCH_A, int PITCH_B>
    __device__ __forceinline__ void multiply(const A (&a)[DEPTH][PITCH_A], const A (&b)[DEPTH][PITCH_B]) {
        #pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            A left[HIGH], right[WIDE];
            #pragma unroll
            for (int i = 0; i < HIGH; i++) left[i] = a[k][row(i)];
            #pragma unroll
            for (int j = 0; j < WIDE; j++) right[j] = b[k][column(j)];
            #pragma unroll
            for (int i = 0; i < HIGH; i++)
                #pragma unroll
                for (int j = 0; j < WIDE; j++) sums[i][j] += left[i] * right[j];
        }
    }
};

// See `Tile` in `choice.rs`.
template <class A> using Narrow = RegisterTile<A, 16, 128, 2, 4>;
template <class A> using Medium = RegisterTile<A, 64, 64, 4, 4>;
template <class A> using Wide = RegisterTile<A, 64, 128, 4, 8>;
template <class A> using Large = RegisterTile<A, 128, 128, 8, 8>;
