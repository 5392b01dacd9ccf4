//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// Convolution, batch norm and ReLU6, fused into one launch.
#[derive(Module)]
#[module(args(inputs: usize, outputs: usize, kernel: usize, stride: usize = 1, groups: usize = 1))]
pub struct ConvBnRelu6(
    #[layer(inputs, outputs, kernel, stride = stride, padding = kernel / 2, groups = groups, bias = false)]
    Conv2d,
    #[layer(outputs)] BatchNorm,
    Relu6,
);

/// Expands the channels (except in the first block), filters each channel separately, and reduces the channels.
#[derive(Module)]
#[module(args(inputs: usize, hidden: usize, outputs: usize, stride: usize))]
#[allow(clippy::large_enum_variant, reason = "a network has few blocks")]
pub enum Bottleneck {
    /// Without expansion.
    #[module(when = hidden == inputs)]
    Plain(
        #[layer(hidden, hidden, 3, stride = stride, groups = hidden)] ConvBnRelu6,
        #[layer(hidden, outputs, 1, bias = false)] Conv2d,
        #[layer(outputs)] BatchNorm,
    ),
    /// With expansion by a 1×1 convolution.
    Expanded(
        #[layer(inputs, hidden, 1)] ConvBnRelu6,
        #[layer(hidden, hidden, 3, stride = stride, groups = hidden)] ConvBnRelu6,
        #[layer(hidden, outputs, 1, bias = false)] Conv2d,
        #[layer(outputs)] BatchNorm,
    ),
}

/// A bottleneck. It has a residual connection if its input and output have the same shape.
#[derive(Module)]
#[module(args(inputs: usize, outputs: usize, stride: usize, ratio: usize),
    forward = |x| if shortcut { conv(x) + x } else { conv(x) },
)]
pub struct InvertedResidual {
    #[layer(inputs, ratio * inputs, outputs, stride)]
    conv: Bottleneck,
    #[module(skip = stride == 1 && inputs == outputs)]
    shortcut: bool,
}

/// Input channels, output channels, stride and expansion ratio of each block.
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
    let mut inputs = 32;
    let mut blocks = Vec::new();
    for (ratio, outputs, repeats, stride) in stages {
        for i in 0..repeats {
            blocks.push([inputs, outputs, if i == 0 { stride } else { 1 }, ratio]);
            inputs = outputs;
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
    #[layer(inputs, outputs, stride, ratio; for [inputs, outputs, stride, ratio] in self::blocks())]
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
