// The channels of a tensor `[samples, channels, plane]`: the assignment of elements to threads, and the reduction
// within a block.
//
// The elements of a channel are split into parts. For long planes, a block handles a part of one channel, and
// neighboring threads read neighboring elements. For short planes, a block handles a part of each of 32 channels, and
// neighboring threads read neighboring channels.
#pragma once
#include "../../cuda/element.cuh"

constexpr int NORM_THREADS = 256;

// The sizes of the tensor. The elements of a channel are split into `parts` parts of `part_len` elements.
struct Channels {
    int samples, channels, plane, parts, part_len;

    // Returns the number of elements of one channel.
    __device__ __forceinline__ int count() const { return samples * plane; }
    // Returns the number of elements of one part, which is 0 for an empty batch.
    __device__ __forceinline__ int count(int part) const { return min(part_len, count() - part * part_len); }
};

// The work of the current thread. `channel` is one of the `WIDTH` channels of the block. `part` is the index of the
// part that the block handles. `index` counts the threads that share the channel within the block.
template <int WIDTH> struct ChannelThread {
    int channel, part, index;
    static constexpr int THREADS_PER_CHANNEL = NORM_THREADS / WIDTH;

    __device__ __forceinline__ explicit ChannelThread(const Channels &c) {
        const int group = blockIdx.x / c.parts;
        part = blockIdx.x - group * c.parts;
        channel = group * WIDTH + threadIdx.x % WIDTH;
        index = threadIdx.x / WIDTH;
    }

    __device__ __forceinline__ bool exists(const Channels &c) const { return channel < c.channels; }

    // Calls `visit(offset)` for each element of the part that this thread handles.
    template <class Visit> __device__ __forceinline__ void for_each(const Channels &c, Visit visit) const {
        if (!exists(c)) return;
        const int end = part * c.part_len + c.count(part);
        int at = part * c.part_len + index;
        // Advances sample and offset incrementally instead of dividing for each element.
        int sample = at / c.plane, offset = at - sample * c.plane;
        const int samples = THREADS_PER_CHANNEL / c.plane, offsets = THREADS_PER_CHANNEL - samples * c.plane;
        for (; at < end; at += THREADS_PER_CHANNEL) {
            visit(((size_t)sample * c.channels + channel) * c.plane + offset);
            sample += samples, offset += offsets;
            if (offset >= c.plane) offset -= c.plane, sample++;
        }
    }
};

// Reduces the values of the threads that share a channel within the block, by calls of `combine(V, V)` in a fixed
// order. Each of these threads receives the result.
template <int WIDTH, class V> __device__ __forceinline__ V reduce_channel(V *shared, const V &value) {
    shared[threadIdx.x] = value;
    for (int half = NORM_THREADS / 2; half >= WIDTH; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
    __syncthreads();
    return shared[threadIdx.x % WIDTH];
}
