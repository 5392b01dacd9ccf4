// How a convolution as a matrix product [group_outputs, depth] · [depth, pixels] is cut into blocks.
#pragma once
#include "sizes.cuh"

// In the order of `launches.rs` beside this file.
struct Cut {
    int channel_tiles, pixel_tiles;
    int slices;       // parts of the depth, whose sums are added by a second launch
    int slice_steps;  // steps along the depth in one slice
};

// The step of a tile's loop as the digits of a row's number, see `Row` in `gather.cuh`: so that no kernel divides
// for it. In the order of `launches.rs`.
struct RowStep {
    int high, middle, low;
};

// One block's part.
struct Place {
    int group, slice, channel, pixel;

    // Blocks that read the same pixels follow one another, so that the input is read from the cache.
    __device__ __forceinline__ Place(const Cut &cut, int tile_channels, int tile_pixels) {
        int block = blockIdx.x;
        channel = block % cut.channel_tiles * tile_channels;
        block /= cut.channel_tiles;
        pixel = block % cut.pixel_tiles * tile_pixels;
        block /= cut.pixel_tiles;
        slice = block % cut.slices;
        group = block / cut.slices;
    }
};
