// The stages of a tile in shared memory and their barriers.
//
// A chunk of the depth is 128 bytes of each pixel's channels: eight columns of 16 bytes. Both operands are stored
// column by column, as `wgmma` reads them (`matrix_descriptor`), so that the operand of a tap can begin at any pixel.
#pragma once
#include "../../../../cuda/hopper.cuh"
#include "padded_layout.cuh"

template <class Element, int PIXELS_> struct Staged {
    using T = Element;
    static constexpr int CHANNELS = 128, PIXELS = PIXELS_;
    static constexpr int BLOCKS = 2;  // the blocks per multiprocessor, if their shared memory fits
    static constexpr int COLUMN_CHANNELS = 16 / sizeof(T), COLUMNS = 8, CHUNK = COLUMNS * COLUMN_CHANNELS;
    static constexpr int WEIGHTS = 3, INPUTS = 2;  // the stages of each operand; a single chunk needs one input stage
    static constexpr int WEIGHT_BYTES = CHANNELS * COLUMNS * 16;
    static constexpr int MULTIPLIERS = 256;  // the threads of two warpgroups, each for half of the channels
    static constexpr int LOADERS = 64;       // the threads after the MULTIPLIERS, which load the input
    static constexpr int THREADS = MULTIPLIERS + LOADERS;

    struct Barriers {
        Barrier input_full[INPUTS], input_free[INPUTS], weight_full[WEIGHTS], weight_free[WEIGHTS];
    };

    unsigned char *weights, *inputs;
    Barriers *barriers;
    PixelRun *runs;
    int *outputs;   // the offset of each position's output pixel (`output_of`)
    int positions;  // the positions of all phases together, which are the length of a column
    int input_stages;

    // Must match `Hopper::shared` in `hopper.rs`. The stages come last, because the sums later replace them.
    __device__ __forceinline__ Staged(unsigned char *memory, const PaddedLayout &p)
        : positions(p.phases * p.read_positions), input_stages(p.chunks < INPUTS ? p.chunks : INPUTS) {
        barriers = reinterpret_cast<Barriers *>(memory);
        outputs = reinterpret_cast<int *>(barriers + 1);
        runs = reinterpret_cast<PixelRun *>(outputs + PIXELS);
        const int run_bytes = p.phases * p.rows * p.runs_across * sizeof(PixelRun);
        const int tables = sizeof(Barriers) + PIXELS * sizeof(int) + run_bytes;
        weights = memory + (tables + 127) / 128 * 128;
        inputs = weights + WEIGHTS * WEIGHT_BYTES;
    }
    __device__ __forceinline__ int input_bytes() const { return positions * COLUMNS * 16; }
    __device__ __forceinline__ unsigned char *weight(int stage) const { return weights + stage * WEIGHT_BYTES; }
    __device__ __forceinline__ unsigned char *input(int stage) const { return inputs + stage * input_bytes(); }

    __device__ __forceinline__ void make_barriers() const {
        for (int i = 0; i < INPUTS; i++) {
            barrier_init(&barriers->input_full[i], LOADERS);
            barrier_init(&barriers->input_free[i], MULTIPLIERS / 128);
        }
        for (int i = 0; i < WEIGHTS; i++) {
            barrier_init(&barriers->weight_full[i], 1);
            barrier_init(&barriers->weight_free[i], MULTIPLIERS / 128);
        }
        fence_barrier_init();
    }
};

// The current stage of a ring, and the parity of the number of completed rounds.
template <int STAGES> struct Ring {
    int stage = 0, parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
};
