// The sizes of a convolution, as a kernel argument.
#pragma once

// Must match `sizes.rs`. Sizes, and offsets within a group of an image, fit in an `int`.
struct ConvSizes {
    int batch, in_channels, out_channels;
    int height, width;          // the size of the input
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_down, stride_right;
    int pad_top, pad_left;
    int dilation_down, dilation_right;
    int groups, group_in_channels, group_out_channels;
    int depth;                  // the number of products in a sum: group_in_channels × kernel_height × kernel_width
    int plane;                  // out_height × out_width
    int pixels;                 // batch × plane
};
