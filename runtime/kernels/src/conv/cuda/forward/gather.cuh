// Reading the input of a convolution as the matrix [depth, pixels] that is never written down.
//
// Row k of it belongs to a tap (a channel and a place in the kernel), column n to an output pixel. What only
// depends on the row is a `Tap`, kept in shared memory for all threads; what only depends on the column is a
// `Pixel`, kept in registers. Bringing the two together takes two additions and two comparisons.
#pragma once
#include "sizes.cuh"
#include "tiles.cuh"

// A place that no input reaches, from wherever one starts: sizes and distances stay below half of it.
constexpr int OUTSIDE = 1 << 30;

// Where a row's elements lie, relative to the first tap of the pixel's window.
struct __align__(16) Tap {
    int offset;       // in elements
    int down, right;  // in rows and columns of the input
    int unused;
};

// A row as the digits of its number, in the order of the weight's dimensions.
struct Row {
    int high, middle, low;

    __device__ __forceinline__ Row(int k, int middle_size, int low_size) {
        const int above = k / low_size;
        low = k - above * low_size;
        high = above / middle_size;
        middle = above - high * middle_size;
    }

    // Goes on by as many rows as `by` stands for: additions and carries in place of divisions.
    __device__ __forceinline__ void advance(const RowStep &by, int middle_size, int low_size) {
        low += by.low, middle += by.middle, high += by.high;
        if (low >= low_size) low -= low_size, middle++;
        if (middle >= middle_size) middle -= middle_size, high++;
    }
};

// The tap of a row [channel, kernel row, kernel column], the channels each in a plane of their own.
__device__ __forceinline__ Tap tap_of(const ConvSizes &s, const Row &row) {
    if (row.high >= s.group_inputs) return {0, OUTSIDE, OUTSIDE, 0};
    const int down = row.middle * s.dilation_down, right = row.low * s.dilation_right;
    return {(row.high * s.height + down) * s.width + right, down, right, 0};
}

// The tap of a row [kernel row, kernel column, channel] of a packed input, with `channels` of each pixel side by
// side.
__device__ __forceinline__ Tap packed_tap_of(const ConvSizes &s, int channels, const Row &row) {
    if (row.high >= s.kernel_height) return {0, OUTSIDE, OUTSIDE, 0};
    const int down = row.high * s.dilation_down, right = row.middle * s.dilation_right;
    return {(down * s.width + right) * channels + row.low, down, right, 0};
}

template <class T> struct Pixel {
    const T *origin;  // of its window in the group's first channel; outside of the image where there is padding
    int y, x;         // the origin's row and column

    __device__ __forceinline__ Pixel() {}
    // Of output pixel `n` of the whole batch, or one that is outside for every tap where there is no such. Each
    // group of an image has `channels`, and pixels lie `apart`.
    __device__ __forceinline__ Pixel(const T *input, const ConvSizes &s, int group, int n, int channels, int apart)
        : origin(input), y(OUTSIDE), x(OUTSIDE) {
        if (n >= s.pixels) return;
        const int image = n / s.plane, pixel = n - image * s.plane;
        const int row = pixel / s.out_width, column = pixel - row * s.out_width;
        y = row * s.stride_down - s.pad_top;
        x = column * s.stride_right - s.pad_left;
        const size_t plane = ((size_t)image * s.groups + group) * channels;
        origin = input + plane * s.height * s.width + ((ptrdiff_t)y * s.width + x) * apart;
    }
    __device__ __forceinline__ Pixel(const T *input, const ConvSizes &s, int group, int n)
        : Pixel(input, s, group, n, s.group_inputs, 1) {}

    // Whether the tap falls on the input; a negative place is a large unsigned one.
    __device__ __forceinline__ bool in_bounds(const Tap &tap, const ConvSizes &s) const {
        return (unsigned)y + (unsigned)tap.down < (unsigned)s.height &&
               (unsigned)x + (unsigned)tap.right < (unsigned)s.width;
    }

    __device__ __forceinline__ const T *at(const Tap &tap) const { return origin + tap.offset; }
};
