// Code that the kernels of the convolution's backward pass share: the sizes, the masked gradient, the phases of a
// strided convolution, and the tiles of blocks.
#pragma once
#include "../../../cuda/activation.cuh"
#include "../../../cuda/element.cuh"
#include "../../../cuda/portable.cuh"

// The sizes of a convolution, with the channels of one group. Must match `sizes.rs`.
struct Conv {
    int batch, groups, group_in_channels, group_out_channels;
    int height, width;             // the size of the input
    int kernel_y, kernel_x;
    int out_height, out_width;     // the size of the output
    int stride_y, stride_x;
    int dilation_y, dilation_x;
    int padding_y, padding_x;      // zeros before the input
    int step_y, step_x;            // every step-th tap reads the same phase: stride / gcd(stride, dilation)

    __device__ int taps() const { return kernel_y * kernel_x; }
    __device__ int plane() const { return height * width; }
    __device__ int out_plane() const { return out_height * out_width; }
};

// The masked gradient: `grad` times the activation's slope, which follows from `output`. Computed when it is read.
template <class T> struct Masked {
    const T *grad, *output;        // `output` is null if there is no activation
    int activation;
    Accumulator<T> parameter;

    __device__ Accumulator<T> operator[](size_t i) const {
        const Accumulator<T> g = load(grad + i);
        return output ? activation_gradient(activation, parameter, g, load(output + i)) : g;
    }
};

// One axis of a phase: the input positions `start + stride·a` for `a < count`, and the taps `first + step·j` for
// `j < taps`, which read them. Output `base + a - back·j` reads position `a` under tap `j` of the phase.
struct PhaseAxis {
    int start, count, first, step, taps, base, back;
};

static __device__ __forceinline__ PhaseAxis phase_axis(int start, int size, int kernel, int stride, int dilation,
                                                       int padding, int step) {
    const int padded = start + padding, residue = padded % stride;
    int first = 0;
    while (first < min(step, kernel) && first * dilation % stride != residue) first++;
    const bool any = first < min(step, kernel);  // true if a tap reads the phase
    PhaseAxis axis;
    axis.start = start;
    axis.count = (size - start + stride - 1) / stride;
    axis.first = first;
    axis.step = step;
    axis.taps = any ? (kernel - first + step - 1) / step : 0;
    axis.base = any ? (padded - first * dilation) / stride : 0;
    axis.back = step * dilation / stride;
    return axis;
}

// The input positions with one pair of residues (row, column) modulo the stride. Within a phase, the input gradient is
// a convolution with stride 1.
struct Phase {
    PhaseAxis y, x;

    // Creates phase `number` of the min(stride_y, height) × min(stride_x, width) phases.
    __device__ Phase(const Conv &conv, int number) {
        const int across = min(conv.stride_x, conv.width);
        y = phase_axis(number / across, conv.height, conv.kernel_y, conv.stride_y, conv.dilation_y, conv.padding_y,
                       conv.step_y);
        x = phase_axis(number % across, conv.width, conv.kernel_x, conv.stride_x, conv.dilation_x, conv.padding_x,
                       conv.step_x);
    }

    __device__ int pixels(const Conv &conv) const { return conv.batch * y.count * x.count; }
    __device__ int taps() const { return y.taps * x.taps; }
};

// The image, the row and the column of pixel `pixel` of a phase. Rows and columns are counted within the phase.
struct PhasePixel {
    int image, row, column;

    __device__ PhasePixel(const Phase &phase, int pixel) {
        const int rows = pixel / phase.x.count;
        column = pixel - rows * phase.x.count;
        image = rows / phase.y.count;
        row = rows - image * phase.y.count;
    }

    // Returns the pixel's offset in a plane of the input.
    __device__ int position(const Conv &conv, const Phase &phase) const {
        return (phase.y.start + row * conv.stride_y) * conv.width + phase.x.start + column * conv.stride_x;
    }
};

// The tile of a block of an input gradient, `channels` × `pixels` in one group and phase: its first channel and its
// first pixel. Blocks that read the same pixels are consecutive, so that they share these pixels in the L2 cache.
struct InputTile {
    int channel, pixel, group, phase;

    __device__ InputTile(const Conv &conv, int channels, int pixels, int channel_tiles, int pixel_tiles) {
        unsigned block = blockIdx.x;
        channel = block % channel_tiles * channels;
        block /= channel_tiles;
        pixel = block % pixel_tiles * pixels;
        block /= pixel_tiles;
        group = block % conv.groups;
        phase = block / conv.groups;
    }
};

// The tile of a block of a weight gradient, `channels` × `columns` in one group, summed over one part of the batch's
// pixels: its first output channel and its first column. A column is a tap of an input channel.
struct WeightTile {
    int channel, column, group, part;

    __device__ WeightTile(const Conv &conv, int channels, int columns, int channel_tiles, int column_tiles) {
        unsigned block = blockIdx.x;
        channel = block % channel_tiles * channels;
        block /= channel_tiles;
        column = block % column_tiles * columns;
        block /= column_tiles;
        group = block % conv.groups;
        part = block / conv.groups;
    }
};

// A position among the output pixels of the batch. `advance` moves it by a fixed number of pixels, without divisions.
struct Cursor {
    int image, row, column;
    int images, rows, columns;     // the number of pixels by which it advances, as images, rows and columns

    Cursor() = default;
    __device__ Cursor(const Conv &conv, int pixel, int step) {
        const int plane = conv.out_plane();
        image = pixel / plane, row = pixel % plane / conv.out_width, column = pixel % conv.out_width;
        images = step / plane, rows = step % plane / conv.out_width, columns = step % conv.out_width;
    }

    __device__ void advance(const Conv &conv) {
        column += columns;
        if (column >= conv.out_width) column -= conv.out_width, row++;
        row += rows;
        if (row >= conv.out_height) row -= conv.out_height, image++;
        image += images;
    }
};
