// The partition of a convolution into blocks. The convolution of a group is the matrix product
// [group_out_channels, depth] · [depth, pixels].
#pragma once
#include "sizes.cuh"

// Must match `launches.rs`.
struct GridPartition {
    int channel_tiles, pixel_tiles;
    int slices;       // the number of parts of the depth; with several slices, a second launch adds their sums
    int slice_steps;  // the number of loop steps along the depth of a slice
};

// The number of im2col rows in one step of a tile's loop, as three digits (see `Row` in `gather.cuh`). Kernels add it
// to a row's index with carries instead of divisions. Must match `Tile::row_step` in `tiles.rs`.
struct RowStep {
    int high, middle, low;
};

// The tile of a block: its group and slice, its first output channel in the group, and its first pixel.
struct BlockTile {
    int group, slice, channel, pixel;

    // Blocks that read the same pixels are consecutive, so that they share the input in the cache.
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
