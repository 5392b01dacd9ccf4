// How a convolution as a matrix product [group_outputs, depth] · [depth, pixels] is cut into blocks.
#pragma once
#include "sizes.cuh"

// In the order of `launches.rs` beside this file.
struct GridPartition {
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
struct BlockTile {
    int group, slice, channel, pixel;

    // Blocks that read the same pixels follow one another, so that the input is read from the cache.
    __device__ __forceinline__ BlockTile(const GridPartition &partition, int tile_channels, int tile_pixels) {
        int block = blockIdx.x;
        channel = block % partition.channel_tiles * tile_channels;
        block /= partition.channel_tiles;
        pixel = block % partition.pixel_tiles * tile_pixels;
        block /= partition.pixel_tiles;
        slice = block % partition.slices;
        group = block / partition.slices;
    }
};
