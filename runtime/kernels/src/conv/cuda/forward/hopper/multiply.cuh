// Multiplies the stages. The first MULTIPLIERS threads of a block are two warpgroups, each for half of the tile's
// channels. Thread 0 also starts the copies of the weight, as soon as both warpgroups have released a stage.
#pragma once
#include "load.cuh"

// Copies the weight to its ring of stages. `packed` is [chunk, tap][stage], as `conv_hopper_pack.cu` writes it.
template <class Stages> struct WeightCopies {
    const Stages &stages;
    const typename Stages::T *packed;
    int left;      // the number of stages still to be copied
    Ring<Stages::WEIGHT_STAGES> ring;

    // If a copy is left, waits until the next stage of the ring is free and then starts the copy.
    __device__ __forceinline__ void begin() {
        if (left-- <= 0) return;
        Barrier *full = &stages.barriers->weight_full[ring.stage];
        barrier_wait(&stages.barriers->weight_free[ring.stage], ring.parity ^ 1);
        barrier_expect(full, Stages::WEIGHT_BYTES);
        bulk_copy(stages.weight(ring.stage), packed, Stages::WEIGHT_BYTES, full);
        packed += Stages::WEIGHT_BYTES / sizeof(*packed);
        ring.next();
    }
};

template <class Stages>
__device__ __forceinline__ void multiply(const Stages &stages, const PaddedLayout &p, const Taps &taps, int tap_count,
                                         const typename Stages::T *packed, float (&sums)[Stages::PIXELS / 2]) {
    using T = typename Stages::T;
    const int half = threadIdx.x / 128;
    const bool first = threadIdx.x % 128 == 0;
    const int vector_stride = stages.positions * 16;
    WeightCopies<Stages> copies{stages, packed, p.chunks * tap_count, {}};
    if (threadIdx.x == 0)
        for (int i = 0; i < Stages::WEIGHT_STAGES; i++) copies.begin();
    Ring<Stages::INPUT_STAGES> inputs;
    Ring<Stages::WEIGHT_STAGES> weights;
    Barrier *before = nullptr;  // the barrier of the weight stage that the previous products read
    for (int chunk = 0; chunk < p.chunks; chunk++, inputs.next()) {
        barrier_wait(&stages.barriers->input_full[inputs.stage], inputs.parity);
        const unsigned char *input = stages.input(inputs.stage);
        for (int tap = 0; tap < tap_count; tap++, weights.next()) {
            barrier_wait(&stages.barriers->weight_full[weights.stage], weights.parity);
            const unsigned char *a = stages.weight(weights.stage) + half * Stages::CHANNELS / 2 * 16;
            const unsigned char *b = input + taps.at[tap] * 16;
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < Stages::CHUNK_VECTORS; k += 2)
                wgmma<T, Stages::PIXELS>(sums,
                                         matrix_descriptor(a + k * Stages::CHANNELS * 16, Stages::CHANNELS * 16, 128),
                                         matrix_descriptor(b + k * vector_stride, vector_stride, 128));
            wgmma_commit();
            // The previous products are complete after this wait.
            wgmma_wait<1>();
            if (before && first) barrier_arrive(before);
            if (before && threadIdx.x == 0) copies.begin();
            before = &stages.barriers->weight_free[weights.stage];
        }
        wgmma_wait<0>();
        if (first) barrier_arrive(&stages.barriers->input_free[inputs.stage]);
    }
}
