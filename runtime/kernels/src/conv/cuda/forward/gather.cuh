// Reads the input of a convolution as an im2col matrix [depth, pixels], which is never stored.
//
// Row k is a tap of one input channel. Column n is an output pixel. A `Tap` has the values that depend only on the row,
// in shared memory for all threads. A `Pixel` has the values that depend only on the column, in registers. Combining
// the two takes two additions and two comparisons.
#pragma once
#include "sizes.cuh"
#include "tiles.cuh"

// A coordinate outside of every input. Sizes and the absolute values of offsets are at most half of it, so the
// coordinate stays outside of the input after an offset is added.
constexpr int OUTSIDE = 1 << 30;

// A tap of one input channel: its offset from the first tap of a pixel's window.
struct __align__(16) Tap {
    int offset;       // in elements
    int down, right;  // in rows and columns of the input
    int unused;
};

// The index of a row as three digits: its indices in the three dimensions of the depth, which are [channel, kernel y,
// kernel x], or [kernel y, kernel x, channel] for packed operands.
struct Row {
    int high, middle, low;

    __device__ __forceinline__ Row(int k, int middle_size, int low_size) {
        const int above = k / low_size;
        low = k - above * low_size;
        high = above / middle_size;
        middle = above - high * middle_size;
    }

    // Adds `by` to the index, with carries instead of divisions.
    __device__ __forceinline__ void advance(const RowStep &by, int middle_size, int low_size) {
        low += by.low, middle += by.middle, high += by.high;
        if (low >= low_size) low -= low_size, middle++;
        if (middle >= middle_size) middle -= middle_size, high++;
    }
};

// Returns the tap of a row [channel, kernel y, kernel x] of an NCHW input.
__device__ __forceinline__ Tap tap_of(const ConvSizes &s, const Row &row) {
    if (row.high >= s.group_in_channels) return {0, OUTSIDE, OUTSIDE, 0};
    const int down = row.middle * s.dilation_down, right = row.low * s.dilation_right;
    return {(row.high * s.height + down) * s.width + right, down, right, 0};
}

// Returns the tap of a row [kernel y, kernel x, channel] of a packed input, in which the `channels` channels of a pixel
// are contiguous.
__device__ __forceinline__ Tap packed_tap_of(const ConvSizes &s, int channels, const Row &row) {
    if (row.high >= s.kernel_height) return {0, OUTSIDE, OUTSIDE, 0};
    const int down = row.high * s.dilation_down, right = row.middle * s.dilation_right;
    return {(down * s.width + right) * channels + row.low, down, right, 0};
}

// The window of an output pixel.
template <class T> struct Pixel {
    const T *origin;  // the element under the first tap in the group's first channel; may lie outside the image
    int y, x;         // the row and column of the origin

    __device__ __forceinline__ Pixel() {}
    // Creates the window of output pixel `n` of the batch. If the pixel does not exist, every tap is out of bounds. In
    // the input, a group has `channels` channels, and neighboring pixels are `step` elements apart.
    __device__ __forceinline__ Pixel(const T *input, const ConvSizes &s, int group, int n, int channels, int step)
        : origin(input), y(OUTSIDE), x(OUTSIDE) {
        if (n >= s.pixels) return;
        const int image = n / s.plane, pixel = n - image * s.plane;
        const int row = pixel / s.out_width, column = pixel - row * s.out_width;
        y = row * s.stride_down - s.pad_top;
        x = column * s.stride_right - s.pad_left;
        const size_t plane = ((size_t)image * s.groups + group) * channels;
        origin = input + plane * s.height * s.width + ((ptrdiff_t)y * s.width + x) * step;
    }
    __device__ __forceinline__ Pixel(const T *input, const ConvSizes &s, int group, int n)
        : Pixel(input, s, group, n, s.group_in_channels, 1) {}

    // Returns true if the tap lies in the input. As unsigned numbers, negative coordinates are too large.
    __device__ __forceinline__ bool in_bounds(const Tap &tap, const ConvSizes &s) const {
        return (unsigned)y + (unsigned)tap.down < (unsigned)s.height &&
               (unsigned)x + (unsigned)tap.right < (unsigned)s.width;
    }

    __device__ __forceinline__ const T *at(const Tap &tap) const { return origin + tap.offset; }
};
