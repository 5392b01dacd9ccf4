// The sizes of a convolution, as a kernel argument.
#pragma once

// Must match `sizes.rs`. Sizes, and offsets within a group of an image, fit in an `int`.
struct ConvSizes {
    int batch, in_channels, out_channels;
    int height, width;          // of the input
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_down, stride_right;
    int pad_top, pad_left;
    int dilation_down, dilation_right;
    int groups, group_inputs, group_outputs;  // the channels of a group
    int depth;                  // the products of a sum: group_inputs × kernel_height × kernel_width
    int plane;                  // out_height × out_width
    int pixels;                 // batch × plane
};
