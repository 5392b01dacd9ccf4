//! R(2+1)D-18 (Tran et al. 2017, <https://arxiv.org/abs/1711.11248>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// A convolution of frames, then a convolution over time.
#[derive(Module)]
#[module(args(in_channels: usize, middle: usize, out_channels: usize, stride: usize))]
pub struct Conv2Plus1d(
    #[layer(in_channels, middle, (1, 3, 3), stride = (1, stride, stride), padding = (0, 1, 1), bias = false)]
    Conv3d,
    #[layer(middle)] BatchNorm3d,
    Relu,
    #[layer(middle, out_channels, (3, 1, 1), stride = (stride, 1, 1), padding = (1, 0, 0), bias = false)]
    Conv3d,
);

/// Returns the number of channels between the two convolutions, with which they have about as many weights as one 3×3×3
/// convolution.
fn middle_channels(in_channels: usize, out_channels: usize) -> usize {
    27 * in_channels * out_channels / (9 * in_channels + 3 * out_channels)
}

/// A residual block. If `downsample` is `None`, `downsample(x)` is `x`.
#[derive(Module)]
#[module(args(in_channels: usize, width: usize, stride: usize), forward = |x| relu(conv2(conv1(x)) + downsample(x)))]
pub struct Block {
    #[layer((in_channels, middle_channels(in_channels, width), width, stride), (width), ())]
    conv1: (Conv2Plus1d, BatchNorm3d, Relu),
    #[layer((width, middle_channels(in_channels, width), width, 1), (width))]
    conv2: (Conv2Plus1d, BatchNorm3d),
    #[layer((in_channels, width, 1, stride = stride, bias = false), (width); if stride != 1)]
    downsample: Option<(Conv3d, BatchNorm3d)>,
}

/// Maps videos `[batch, 3, frames, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(args(classes: usize = 400), forward = |x| {
    let x = layer4(layer3(layer2(layer1(stem(x)))));
    fc(flatten(adaptive_avg_pool3d(x, 1), 1))
})]
pub struct R2Plus1d {
    #[layer((3, 45, (1, 7, 7), stride = (1, 2, 2), padding = (0, 3, 3), bias = false), (45), (),
        (45, 64, (3, 1, 1), padding = (1, 0, 0), bias = false), (64), ())]
    stem: (Conv3d, BatchNorm3d, Relu, Conv3d, BatchNorm3d, Relu),
    #[layer(64, 64, 1; for _ in 0..2)]
    layer1: Vec<Block>,
    #[layer(if i == 0 { 64 } else { 128 }, 128, if i == 0 { 2 } else { 1 }; for i in 0..2)]
    layer2: Vec<Block>,
    #[layer(if i == 0 { 128 } else { 256 }, 256, if i == 0 { 2 } else { 1 }; for i in 0..2)]
    layer3: Vec<Block>,
    #[layer(if i == 0 { 256 } else { 512 }, 512, if i == 0 { 2 } else { 1 }; for i in 0..2)]
    layer4: Vec<Block>,
    #[layer(512, classes)]
    fc: Linear,
}

/// Returns the config of R(2+1)D-18 for the 400 classes of Kinetics.
pub fn r2plus1d_18() -> R2Plus1dConfig {
    R2Plus1d::config()
}
