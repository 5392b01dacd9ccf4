// How the planes of a batch are laid side by side, so that a kernel's tap is one distance for all pixels.
//
// The rows of all images follow one another, each with as many columns beyond its pixels as a tap reaches over: zeros.
// An output pixel and its inputs then have places in one row of numbers, and the input for a tap is always the same
// number of places further. Of a stride there are several such rows of numbers, its phases: of each remainder of an
// input's row and column.
#pragma once
#include "../sizes.cuh"

constexpr int MAX_PHASES = 4, MAX_TAPS = 49;

// In the order of `planes.rs` beside this file.
struct PaddedLayout {
    int pitch, image;       // places of a row and of an image
    int first;              // the first place that the tile at place 0 reads
    int reach;              // places of one phase that a tile reads, a multiple of 8
    int phases;             // those that taps read, and what remains of their rows and columns
    int down[MAX_PHASES], right[MAX_PHASES];
    int run;                // neighbouring pixels that are loaded together: they divide the width
    int runs_across, rows;  // the runs of a row, and the rows that a tile reads, of one phase
    int channel_tiles, position_tiles;
    int chunks;             // of the channels, see `Staged`
};

// The place, counted from the first that a tile holds, of each tap's first input.
struct Taps { int at[MAX_TAPS]; };

// Neighbouring pixels of the input: where they lie in channel 0 of the group, counted from the tile's first image, and
// which of the tile's places is the first one's. Outside the image: `from` is negative.
struct PixelRun { int from, position; };

__device__ __forceinline__ int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The run of number `i` of the tile at `tile`, a place.
__device__ __forceinline__ PixelRun run_of(const PaddedLayout &p, const ConvSizes &s, int tile, int image, int i) {
    const int across = i % p.runs_across, row_of_all = i / p.runs_across;
    const int phase = row_of_all / p.rows;
    const int start = tile + p.first;
    const int row = floor_divide(start, p.pitch) + (row_of_all - phase * p.rows);  // of all images
    const int rows_of_image = p.image / p.pitch;
    const int of = floor_divide(row, rows_of_image);
    const int y = (row - of * rows_of_image) * s.stride_down + p.down[phase];
    const int x = across * p.run * s.stride_right + p.right[phase];
    const int position = row * p.pitch + across * p.run - start;
    const bool inside = of >= 0 && of < s.batch && y < s.height && x < s.width && position > -p.run && position < p.reach;
    const int plane = s.height * s.width;
    return {inside ? (of - image) * s.in_channels * plane + y * s.width + x : -1, phase * p.reach + position};
}

// Where the output pixel of a place lies in channel 0, counted from the tile's first image, or -1.
__device__ __forceinline__ int output_of(const PaddedLayout &p, const ConvSizes &s, int position, int image) {
    const int of = position / p.image, rest = position - of * p.image;
    const int y = rest / p.pitch, x = rest - y * p.pitch;
    const bool inside = of < s.batch && y < s.out_height && x < s.out_width;
    return inside ? (of - image) * s.out_channels * s.plane + y * s.out_width + x : -1;
}
