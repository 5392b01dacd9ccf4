//! EfficientNet-B0 (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// A convolution without bias, followed by batch norm.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, kernel: usize = 1, stride: usize = 1, groups: usize = 1))]
pub struct ConvBn(
    #[layer(in_channels, out_channels, kernel, stride = stride, padding = kernel / 2, groups = groups,
        bias = false)]
    Conv2d,
    #[layer(out_channels)] BatchNorm,
);

/// A [`ConvBn`] followed by SiLU.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, kernel: usize = 1, stride: usize = 1, groups: usize = 1))]
pub struct ConvBnSilu(
    #[layer(in_channels, out_channels, kernel, stride = stride, padding = kernel / 2, groups = groups,
        bias = false)]
    Conv2d,
    #[layer(out_channels)] BatchNorm,
    Silu,
);

/// Multiplies each channel by a factor that is computed from the means of all channels.
#[derive(Module)]
#[module(args(channels: usize, squeezed: usize), forward = |x| {
    let means = adaptive_avg_pool2d(x, 1);
    x * sigmoid(fc2(silu(fc1(means))))
})]
pub struct SqueezeExcitation {
    #[layer(channels, squeezed, 1)]
    fc1: Conv2d,
    #[layer(squeezed, channels, 1)]
    fc2: Conv2d,
}

/// A stage of the network: `depth` blocks. The first block has the stride `stride`, the others have stride 1.
#[derive(Clone, Copy)]
pub struct Stage {
    /// The number of hidden channels of a block relative to its input channels.
    ratio: usize,
    kernel: usize,
    stride: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    /// The number of blocks in all preceding stages.
    before: usize,
}

/// Returns the seven stages, with 16 blocks in total.
fn stages() -> Vec<Stage> {
    let settings = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];
    let mut in_channels = 32;
    let mut before = 0;
    let mut stages = Vec::new();
    for (ratio, kernel, stride, out_channels, depth) in settings {
        stages.push(Stage { ratio, kernel, stride, in_channels, out_channels, depth, before });
        in_channels = out_channels;
        before += depth;
    }
    stages
}

/// The layers of a block: a 1×1 convolution that expands the channels, a depthwise convolution, squeeze-and-excitation,
/// and a 1×1 convolution. In the first block of the network, the channels are not expanded.
#[derive(Module)]
#[module(args(in_channels: usize, hidden: usize, out_channels: usize, kernel: usize, stride: usize))]
#[allow(clippy::large_enum_variant, reason = "a network has few blocks")]
pub enum Layers {
    /// The layers of a block without expansion.
    #[module(when = hidden == in_channels)]
    Plain(
        #[layer(hidden, hidden, kernel = kernel, stride = stride, groups = hidden)] ConvBnSilu,
        #[layer(hidden, in_channels / 4)] SqueezeExcitation,
        #[layer(hidden, out_channels)] ConvBn,
    ),
    /// The layers of a block with expansion.
    Expanded(
        #[layer(in_channels, hidden)] ConvBnSilu,
        #[layer(hidden, hidden, kernel = kernel, stride = stride, groups = hidden)] ConvBnSilu,
        #[layer(hidden, in_channels / 4)] SqueezeExcitation,
        #[layer(hidden, out_channels)] ConvBn,
    ),
}

/// An inverted bottleneck. It has a residual connection if its input and output have the same shape.
#[derive(Module)]
#[module(
    args(in_channels: usize, out_channels: usize, ratio: usize, kernel: usize, stride: usize, p: f64),
    forward = |x| if shortcut { stochastic_depth(block(x)) + x } else { block(x) },
)]
pub struct MbConv {
    #[layer(in_channels, ratio * in_channels, out_channels, kernel, stride)]
    block: Layers,
    #[layer(p, "row")]
    stochastic_depth: StochasticDepth,
    #[module(skip = stride == 1 && in_channels == out_channels)]
    shortcut: bool,
}

/// The blocks of a stage. The probability with which stochastic depth drops a block grows linearly over the 16 blocks
/// of the network, from 0 to almost 0.2.
#[derive(Module)]
#[module(args(stage: Stage))]
pub struct Blocks {
    #[layer(if i == 0 { stage.in_channels } else { stage.out_channels }, stage.out_channels, stage.ratio, stage.kernel,
        if i == 0 { stage.stride } else { 1 }, 0.2 * (stage.before + i) as f64 / 16.; for i in 0..stage.depth)]
    #[module(rename = "{0..}")]
    blocks: Vec<MbConv>,
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(args(classes: usize = 1000), forward = |x| {
    let x = head(stages(stem(x)));
    classifier(dropout(flatten(adaptive_avg_pool2d(x, 1), 1)))
})]
pub struct EfficientNet {
    #[layer(3, 32, kernel = 3, stride = 2)]
    #[module(rename = "features.0")]
    stem: ConvBnSilu,
    #[layer(stage; for stage in self::stages())]
    #[module(rename = "features.{1..}")]
    stages: Vec<Blocks>,
    #[layer(320, 1280)]
    #[module(rename = "features.8")]
    head: ConvBnSilu,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(1280, classes)]
    #[module(rename = "classifier.1")]
    classifier: Linear,
}

/// Returns the config of EfficientNet-B0 for 1000 classes.
pub fn efficientnet_b0() -> EfficientNetConfig {
    EfficientNet::config()
}
