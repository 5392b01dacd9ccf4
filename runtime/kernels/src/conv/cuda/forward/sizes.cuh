// The sizes of a convolution as its kernels are given them.
#pragma once

// In the order of `sizes.rs` beside this file. Every one is an `int`, and so are the offsets within one group of one image.
struct ConvSizes {
    int batch, in_channels, out_channels;
    int height, width;          // of the input
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_down, stride_right;
    int pad_top, pad_left;
    int dilation_down, dilation_right;
    int groups, group_inputs, group_outputs;  // the channels in each group
    int depth;                  // the products in one sum: group_inputs × kernel_height × kernel_width
    int plane;                  // out_height × out_width
    int pixels;                 // batch × plane
};
