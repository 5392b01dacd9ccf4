// A tensor seen as `[samples, channels, plane]`: which of its elements a thread takes, and how a block joins what
// its threads found.
//
// Blocks share a channel's elements in parts. Where planes are long, a block takes one channel, and neighbouring
// threads neighbouring elements of it; where they are short, it takes 32 channels, and neighbouring threads
// neighbouring channels.
#pragma once
#include "../../cuda/element.cuh"

constexpr int NORM_THREADS = 256;

/// The sizes of the tensor. A channel's elements are cut into `parts` of `each`.
struct Channels {
    int samples, channels, plane, parts, each;

    /// The elements of one channel.
    __device__ __forceinline__ int count() const { return samples * plane; }
    /// Those of one part: none where the batch is empty.
    __device__ __forceinline__ int count(int part) const { return min(each, count() - part * each); }
};

/// The running thread's channel, of the `WIDTH` that its block takes, and its number among the threads of it.
template <int WIDTH> struct Worker {
    int channel, part, number;
    static constexpr int WORKERS = NORM_THREADS / WIDTH;

    __device__ __forceinline__ explicit Worker(const Channels &c) {
        const int group = blockIdx.x / c.parts;
        part = blockIdx.x - group * c.parts;
        channel = group * WIDTH + threadIdx.x % WIDTH;
        number = threadIdx.x / WIDTH;
    }

    __device__ __forceinline__ bool exists(const Channels &c) const { return channel < c.channels; }

    /// Calls `visit(where an element lies)` for this thread's share of its part.
    template <class Visit> __device__ __forceinline__ void for_each(const Channels &c, Visit visit) const {
        if (!exists(c)) return;
        const int end = part * c.each + c.count(part);
        int at = part * c.each + number;
        // By counting on, not by a division for each element.
        int sample = at / c.plane, offset = at - sample * c.plane;
        const int samples = WORKERS / c.plane, offsets = WORKERS - samples * c.plane;
        for (; at < end; at += WORKERS) {
            visit(((size_t)sample * c.channels + channel) * c.plane + offset);
            sample += samples, offset += offsets;
            if (offset >= c.plane) offset -= c.plane, sample++;
        }
    }
};

/// Joins the values of the threads of each channel by `join(V, V)`, in one order. Every thread of the channel gets
/// the result.
template <int WIDTH, class V> __device__ __forceinline__ V join_workers(V *shared, const V &value) {
    shared[threadIdx.x] = value;
    for (int half = NORM_THREADS / 2; half >= WIDTH; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
    __syncthreads();
    return shared[threadIdx.x % WIDTH];
}
