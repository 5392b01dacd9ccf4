// The padded layout of the images of a batch, in which each tap has the same offset for all pixels.
//
// All rows of all images are concatenated in one line. Zeros follow each row and each image, for the taps that reach
// beyond them. Output pixels and input pixels are positions on this line, and the input under a tap is at a fixed
// offset from the output pixel: with stride 1, dilation 1 and no padding, output [y, x] of an image is at position
// y · pitch + x, and tap [r, c] reads position (y + r) · pitch + x + c. With a stride, there is one line for each
// phase, which consists of the input's rows and columns with one pair of residues modulo the stride.
#pragma once
#include "../sizes.cuh"

constexpr int MAX_PHASES = 4, MAX_TAPS = 49;

// Must match `PaddedLayout::arg` in `hopper.rs`.
struct PaddedLayout {
    int pitch, image;       // the number of positions of a row and of an image
    int first;              // the first position that the tile at position 0 reads; negative with padding
    int read_positions;     // the number of positions of each phase that a tile reads, a multiple of 8
    int phases;             // the number of phases that taps read
    int down[MAX_PHASES], right[MAX_PHASES];  // the row residue and the column residue of each phase
    int run_pixels;         // the number of neighboring pixels loaded together; divides the width
    int runs_per_row, rows; // the number of runs in a row, and of rows of each phase that a tile reads
    int channel_tiles, position_tiles;
    int chunks;             // the number of chunks of a group's channels; see `Staged`
};

// For each tap, the position that the tile's first output reads, counted from the first position in the stage, which
// contains the `read_positions` positions of each phase one after another.
struct Taps { int at[MAX_TAPS]; };

// A run of neighboring input pixels.
struct PixelRun {
    int from;      // its offset in elements from channel 0 of the group in the tile's first image; -1 if it is padding
    int position;  // the position of its first pixel, counted from the first position in the stage
};

__device__ __forceinline__ int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Returns run `i` of the tile at position `tile`, whose first image is `image`.
__device__ __forceinline__ PixelRun run_of(const PaddedLayout &p, const ConvSizes &s, int tile, int image, int i) {
    const int across = i % p.runs_per_row, row_of_all = i / p.runs_per_row;
    const int phase = row_of_all / p.rows;
    const int start = tile + p.first;
    const int row = floor_divide(start, p.pitch) + (row_of_all - phase * p.rows);  // counted across all images
    const int rows_of_image = p.image / p.pitch;
    const int row_image = floor_divide(row, rows_of_image);
    const int y = (row - row_image * rows_of_image) * s.stride_down + p.down[phase];
    const int x = across * p.run_pixels * s.stride_right + p.right[phase];
    const int position = row * p.pitch + across * p.run_pixels - start;
    const bool in_image = row_image >= 0 && row_image < s.batch && y < s.height && x < s.width;
    const bool inside = in_image && position > -p.run_pixels && position < p.read_positions;
    const int plane = s.height * s.width;
    const int from = inside ? (row_image - image) * s.in_channels * plane + y * s.width + x : -1;
    return {from, phase * p.read_positions + position};
}

// Returns the offset in elements of a position's output pixel from channel 0 of the tile's first image `image`, or -1
// if no output pixel has this position.
__device__ __forceinline__ int output_of(const PaddedLayout &p, const ConvSizes &s, int position, int image) {
    const int own_image = position / p.image, rest = position - own_image * p.image;
    const int y = rest / p.pitch, x = rest - y * p.pitch;
    const bool inside = own_image < s.batch && y < s.out_height && x < s.out_width;
    return inside ? (own_image - image) * s.out_channels * s.plane + y * s.out_width + x : -1;
}
