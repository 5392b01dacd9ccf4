// The padded layout of the images of a batch, in which each tap has the same offset for all pixels.
//
// All rows of all images are concatenated in one line. Rows and images are padded with zeros for the taps that reach
// beyond them. Output pixels and input pixels are positions on this line, and the input under a tap is at a fixed
// offset from the output pixel. With a stride, there is one line for each phase, which is a pair of residues of the
// input's row and column modulo the stride.
#pragma once
#include "../sizes.cuh"

constexpr int MAX_PHASES = 4, MAX_TAPS = 49;

// Must match `PaddedLayout::arg` in `hopper.rs`.
struct PaddedLayout {
    int pitch, image;       // the positions of a row and of an image
    int first;              // the first position that the tile at position 0 reads
    int read_positions;     // the positions of a phase that a tile reads, a multiple of 8
    int phases;             // the phases that taps read; their row and column residues follow
    int down[MAX_PHASES], right[MAX_PHASES];
    int run_pixels;         // the number of neighboring pixels loaded together; divides the width
    int runs_per_row, rows; // the runs of a row, and the rows of a phase that a tile reads
    int channel_tiles, position_tiles;
    int chunks;             // the chunks of the channels; see `Staged`
};

// For each tap, the position that the tile's first output reads, counted from the first position in the stage.
struct Taps { int at[MAX_TAPS]; };

// A run of neighboring input pixels: its offset in channel 0 of the group, counted from the tile's first image, and the
// position of its first pixel in the stage. `from` is negative if the run is outside the image.
struct PixelRun { int from, position; };

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

// Returns the offset of a position's output pixel in channel 0, counted from the tile's first image `image`, or -1 if
// the position is padding.
__device__ __forceinline__ int output_of(const PaddedLayout &p, const ConvSizes &s, int position, int image) {
    const int own_image = position / p.image, rest = position - own_image * p.image;
    const int y = rest / p.pitch, x = rest - y * p.pitch;
    const bool inside = own_image < s.batch && y < s.out_height && x < s.out_width;
    return inside ? (own_image - image) * s.out_channels * s.plane + y * s.out_width + x : -1;
}
