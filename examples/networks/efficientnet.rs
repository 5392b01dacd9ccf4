//! EfficientNet-B0 (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>) and EfficientNetV2-S (Tan and Le 2021,
//! <https://arxiv.org/abs/2104.00298>), with the parameter names of torchvision's checkpoints.

use sconce::prelude::*;

use super::inverted_residual::{Block, ConvNormActivation, InvertedResidual, Norm};

/// A stage: `depth` blocks. The first block has the stride `stride`, the others have stride 1.
#[derive(Clone, Copy)]
pub struct Stage {
    fused: bool,
    /// The number of hidden channels of a block relative to its input channels.
    ratio: usize,
    kernel: usize,
    stride: usize,
    out_channels: usize,
    depth: usize,
}

/// Returns a stage without fused blocks.
const fn stage(ratio: usize, kernel: usize, stride: usize, out_channels: usize, depth: usize) -> Stage {
    Stage { fused: false, ratio, kernel, stride, out_channels, depth }
}

/// Returns a stage of fused blocks.
const fn fused_stage(ratio: usize, kernel: usize, stride: usize, out_channels: usize, depth: usize) -> Stage {
    Stage { fused: true, ..stage(ratio, kernel, stride, out_channels, depth) }
}

const B0: [Stage; 7] = [
    stage(1, 3, 1, 16, 1),
    stage(6, 3, 2, 24, 2),
    stage(6, 5, 2, 40, 2),
    stage(6, 3, 2, 80, 3),
    stage(6, 5, 1, 112, 3),
    stage(6, 5, 2, 192, 4),
    stage(6, 3, 1, 320, 1),
];

const V2_S: [Stage; 6] = [
    fused_stage(1, 3, 1, 24, 2),
    fused_stage(4, 3, 2, 48, 4),
    fused_stage(4, 3, 2, 64, 4),
    stage(4, 3, 2, 128, 6),
    stage(6, 3, 1, 160, 9),
    stage(6, 3, 2, 256, 15),
];

/// Returns the blocks of each stage. The probability with which stochastic depth drops a block grows linearly over the
/// blocks of the network, from 0 to almost 0.2.
fn blocks(stages: &[Stage], mut in_channels: usize, norm: Norm) -> Vec<Vec<Block>> {
    let total: usize = stages.iter().map(|stage| stage.depth).sum();
    let mut before = 0;
    let mut block = |stage: &Stage, i| {
        let &Stage { fused, ratio, kernel, out_channels, .. } = stage;
        let settings = Block {
            in_channels,
            hidden: ratio * in_channels,
            out_channels,
            kernel,
            stride: if i == 0 { stage.stride } else { 1 },
            norm,
            activation: silu,
            squeeze: if fused { None } else { Some((in_channels / 4, [silu, sigmoid])) },
            fused,
            p: 0.2 * before as f64 / total as f64,
        };
        in_channels = out_channels;
        before += 1;
        settings
    };
    stages.iter().map(|stage| (0..stage.depth).map(|i| block(stage, i)).collect()).collect()
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(settings: &'static [Stage], width: usize, norm: Norm, classes: usize = 1000),
    forward = |x| {
        let x = head(stages(stem(x)));
        classifier(dropout(flatten(adaptive_avg_pool2d(x, 1), 1)))
    },
)]
pub struct EfficientNet {
    #[layer(3, width, norm, silu, kernel = 3, stride = 2)]
    #[module(rename = "features.0")]
    stem: ConvNormActivation,
    #[layer(block; for stage in self::blocks(settings, width, norm), for block in stage)]
    #[module(rename = "features.{1..}")]
    stages: Vec<Vec<InvertedResidual>>,
    #[layer(settings[settings.len() - 1].out_channels, 1280, norm, silu)]
    #[module(rename = "features.{last}")]
    head: ConvNormActivation,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(1280, classes)]
    #[module(rename = "classifier.1")]
    classifier: Linear,
    #[module(skip = settings.len() + 1)]
    last: usize,
}

/// Returns the config of EfficientNet-B0 for 1000 classes.
pub fn efficientnet_b0() -> EfficientNetConfig {
    EfficientNet::config(&B0, 32, BatchNorm::config)
}

/// Returns the config of EfficientNetV2-S for 1000 classes.
pub fn efficientnet_v2_s() -> EfficientNetConfig {
    EfficientNet::config(&V2_S, 24, |channels| BatchNorm::config(channels).eps(1e-3))
}
