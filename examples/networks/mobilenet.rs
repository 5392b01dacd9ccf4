//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// A convolution without bias, followed by batch norm and ReLU6.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, kernel: usize, stride: usize = 1, groups: usize = 1))]
pub struct ConvBnRelu6(
    #[layer(in_channels, out_channels, kernel, stride = stride, padding = kernel / 2, groups = groups, bias = false)]
     Conv2d,
    #[layer(out_channels)] BatchNorm,
    Relu6,
);

/// The layers of a block: a 1×1 convolution that expands the channels (except in the first block), a depthwise
/// convolution, and a 1×1 convolution that reduces the channels.
#[derive(Module)]
#[module(args(in_channels: usize, hidden: usize, out_channels: usize, stride: usize))]
#[allow(clippy::large_enum_variant, reason = "a network has few blocks")]
pub enum Bottleneck {
    /// The layers of a block without expansion.
    #[module(when = hidden == in_channels)]
    Plain(
        #[layer(hidden, hidden, 3, stride = stride, groups = hidden)] ConvBnRelu6,
        #[layer(hidden, out_channels, 1, bias = false)] Conv2d,
        #[layer(out_channels)] BatchNorm,
    ),
    /// The layers of a block with expansion.
    Expanded(
        #[layer(in_channels, hidden, 1)] ConvBnRelu6,
        #[layer(hidden, hidden, 3, stride = stride, groups = hidden)] ConvBnRelu6,
        #[layer(hidden, out_channels, 1, bias = false)] Conv2d,
        #[layer(out_channels)] BatchNorm,
    ),
}

/// A bottleneck. It has a residual connection if its input and output have the same shape.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, stride: usize, ratio: usize),
    forward = |x| if shortcut { conv(x) + x } else { conv(x) },
)]
pub struct InvertedResidual {
    #[layer(in_channels, ratio * in_channels, out_channels, stride)]
    conv: Bottleneck,
    // Whether the input is added to the output. This field is plain data: it has the value after `skip`.
    #[module(skip = stride == 1 && in_channels == out_channels)]
    shortcut: bool,
}

/// Returns the input channels, output channels, stride and expansion ratio of each block.
fn blocks() -> Vec<[usize; 4]> {
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    let mut in_channels = 32;
    let mut blocks = Vec::new();
    for (ratio, out_channels, repeats, stride) in stages {
        for i in 0..repeats {
            blocks.push([in_channels, out_channels, if i == 0 { stride } else { 1 }, ratio]);
            in_channels = out_channels;
        }
    }
    blocks
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(classes: usize = 1000), forward = |x| {
    let x = head(blocks(stem(x)));
    classifier(dropout(flatten(adaptive_avg_pool2d(x, 1), 1)))
})]
pub struct MobileNetV2 {
    #[layer(3, 32, 3, stride = 2)]
    #[module(rename = "features.0")]
    stem: ConvBnRelu6,
    #[layer(in_channels, out_channels, stride, ratio; for [in_channels, out_channels, stride, ratio] in self::blocks())]
    #[module(rename = "features.{1..}")]
    blocks: Vec<InvertedResidual>,
    #[layer(320, 1280, 1)]
    #[module(rename = "features.18")]
    head: ConvBnRelu6,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(1280, classes)]
    #[module(rename = "classifier.1")]
    classifier: Linear,
}

/// Returns the config of MobileNetV2 for 1000 classes.
pub fn mobilenet_v2() -> MobileNetV2Config {
    MobileNetV2::config()
}
