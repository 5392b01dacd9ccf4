//! ConvNeXt-Tiny (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// The number of channels and of blocks of each stage.
const STAGES: [(usize, usize); 4] = [(96, 3), (192, 3), (384, 9), (768, 3)];

/// A depthwise convolution and two linear layers at each pixel, with a learned scale for each channel.
#[derive(Module)]
#[module(args(channels: usize, p: f64), forward = |x| {
    let h = norm(depthwise(x).permute((0, 2, 3, 1)));
    let h = contract(gelu(expand(h))).permute((0, 3, 1, 2));
    stochastic_depth(h * layer_scale) + x
})]
pub struct Block {
    #[param((channels, 1, 1), init = constant(1e-6))]
    layer_scale: Tensor,
    #[layer(channels, channels, 7, padding = 3, groups = channels)]
    #[module(rename = "block.0")]
    depthwise: Conv2d,
    #[layer(channels, eps = 1e-6)]
    #[module(rename = "block.2")]
    norm: LayerNorm,
    #[layer(channels, 4 * channels)]
    #[module(rename = "block.3")]
    expand: Linear,
    #[layer(4 * channels, channels)]
    #[module(rename = "block.5")]
    contract: Linear,
    #[layer(p, "row")]
    stochastic_depth: StochasticDepth,
}

/// A part of the network before its head: the stem, the blocks of a stage, or the downsampling before a stage.
#[derive(Module)]
#[module(args(index: usize))]
#[allow(clippy::large_enum_variant, reason = "a network has few parts")]
pub enum Part {
    /// Divides an image into patches of 4×4 pixels.
    #[module(when = index == 0)]
    Stem(#[layer(3, STAGES[0].0, 4, stride = 4)] Conv2d, #[layer(STAGES[0].0)] LayerNorm2d),
    /// The blocks of a stage. The probability with which stochastic depth drops a block grows linearly over the 18
    /// blocks of the network, from 0 to 0.1.
    #[module(when = index % 2 == 1)]
    Stage(
        #[layer(STAGES[index / 2].0, 0.1 * (blocks_before(index / 2) + i) as f64 / 17.;
            for i in 0..STAGES[index / 2].1)]
        #[module(rename = "{0..}")]
        Vec<Block>,
    ),
    /// Halves height and width.
    Downsample(
        #[layer(STAGES[index / 2 - 1].0)] LayerNorm2d,
        #[layer(STAGES[index / 2 - 1].0, STAGES[index / 2].0, 2, stride = 2)] Conv2d,
    ),
}

/// Returns the number of blocks in the stages before `stage`.
fn blocks_before(stage: usize) -> usize {
    STAGES[..stage].iter().map(|(_, blocks)| blocks).sum()
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(classes: usize = 1000),
    forward = |x| classifier(flatten(norm(adaptive_avg_pool2d(features(x), 1)), 1)),
)]
pub struct ConvNext {
    #[layer(index; for index in 0..2 * STAGES.len())]
    features: Vec<Part>,
    #[layer(STAGES[3].0)]
    #[module(rename = "classifier.0")]
    norm: LayerNorm2d,
    #[layer(STAGES[3].0, classes)]
    #[module(rename = "classifier.2")]
    classifier: Linear,
}

/// Returns the config of ConvNeXt-Tiny for 1000 classes.
pub fn convnext_tiny() -> ConvNextConfig {
    ConvNext::config()
}
