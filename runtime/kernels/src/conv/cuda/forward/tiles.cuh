// The partition of a convolution into blocks. The convolution of a group is the matrix product
// [group_out_channels, depth] · [depth, pixels].
#pragma once
#include "sizes.cuh"

// Must match `launches.rs`.
struct GridPartition {
    int channel_tiles, pixel_tiles;
    int slices;       // the parts of the depth; a second launch adds their sums
    int slice_steps;  // the steps along the depth of a slice
};

// One step of a tile's loop as the digits of a row's index (see `Row` in `gather.cuh`), so that kernels need no
// division. Must match `Tile::row_step` in `tiles.rs`.
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
