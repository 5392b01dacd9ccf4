// The stages of a tile in shared memory and their barriers.
//
// A chunk is 128 bytes of channels for each position (`padded_layout.cuh`): eight channel vectors of 16 bytes. A stage
// holds one chunk of an operand as [channel vector][position] (the input) or [channel vector][output channel] (the
// weight of one tap). `wgmma` reads this order (`matrix_descriptor`). In this order, the input of a tap can begin at
// any position.
#pragma once
#include "../../../../cuda/hopper.cuh"
#include "padded_layout.cuh"

// PIXELS is the number of positions in a tile.
template <class Element, int PIXELS_> struct Staged {
    using T = Element;
    static constexpr int CHANNELS = 128, PIXELS = PIXELS_;
    static constexpr int BLOCKS = 2;  // the blocks per multiprocessor, if their shared memory fits
    static constexpr int VECTOR_CHANNELS = 16 / sizeof(T), CHUNK_VECTORS = 8, CHUNK = CHUNK_VECTORS * VECTOR_CHANNELS;
    // The number of stages of each operand. A single chunk needs one input stage.
    static constexpr int WEIGHT_STAGES = 3, INPUT_STAGES = 2;
    static constexpr int WEIGHT_BYTES = CHANNELS * CHUNK_VECTORS * 16;
    static constexpr int MULTIPLIERS = 256;  // the threads of two warpgroups, each for half of the channels
    static constexpr int LOADERS = 64;       // the threads after the MULTIPLIERS, which load the input
    static constexpr int THREADS = MULTIPLIERS + LOADERS;

    struct Barriers {
        Barrier input_full[INPUT_STAGES], input_free[INPUT_STAGES];
        Barrier weight_full[WEIGHT_STAGES], weight_free[WEIGHT_STAGES];
    };

    unsigned char *weights, *inputs;
    Barriers *barriers;
    PixelRun *runs;
    int *outputs;   // the offset of each position's output pixel (`output_of`)
    int positions;  // the number of positions in an input stage, all phases together
    int input_stages;

    // Must match `Hopper::shared` in `hopper.rs`. The stages come last, because the sums later replace them.
    __device__ __forceinline__ Staged(unsigned char *memory, const PaddedLayout &p)
        : positions(p.phases * p.read_positions), input_stages(p.chunks < INPUT_STAGES ? p.chunks : INPUT_STAGES) {
        barriers = reinterpret_cast<Barriers *>(memory);
        outputs = reinterpret_cast<int *>(barriers + 1);
        runs = reinterpret_cast<PixelRun *>(outputs + PIXELS);
        const int run_bytes = p.phases * p.rows * p.runs_per_row * sizeof(PixelRun);
        const int tables = sizeof(Barriers) + PIXELS * sizeof(int) + run_bytes;
        weights = memory + (tables + 127) / 128 * 128;
        inputs = weights + WEIGHT_STAGES * WEIGHT_BYTES;
    }
    __device__ __forceinline__ int input_bytes() const { return positions * CHUNK_VECTORS * 16; }
    __device__ __forceinline__ unsigned char *weight(int stage) const { return weights + stage * WEIGHT_BYTES; }
    __device__ __forceinline__ unsigned char *input(int stage) const { return inputs + stage * input_bytes(); }

    __device__ __forceinline__ void make_barriers() const {
        for (int i = 0; i < INPUT_STAGES; i++) {
            barrier_init(&barriers->input_full[i], LOADERS);
            barrier_init(&barriers->input_free[i], MULTIPLIERS / 128);
        }
        for (int i = 0; i < WEIGHT_STAGES; i++) {
            barrier_init(&barriers->weight_full[i], 1);
            barrier_init(&barriers->weight_free[i], MULTIPLIERS / 128);
        }
        fence_barrier_init();
    }
};

// The current stage of a ring of stages, and the number of completed rounds through the ring modulo 2.
template <int STAGES> struct Ring {
    int stage = 0, parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
};
