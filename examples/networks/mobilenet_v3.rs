//! MobileNetV3 Large and Small (Howard et al. 2019, <https://arxiv.org/abs/1905.02244>), with the parameter names of
//! torchvision's checkpoints.

use sconce::prelude::*;

use super::inverted_residual::{Activation, Block, ConvNormActivation, InvertedResidual};

/// The input channels, the kernel size, the hidden and the output channels, whether there is squeeze-and-excitation,
/// the activation, and the stride of a block.
type Row = (usize, usize, usize, usize, bool, Activation, usize);

const LARGE: [Row; 15] = [
    (16, 3, 16, 16, false, relu, 1),
    (16, 3, 64, 24, false, relu, 2),
    (24, 3, 72, 24, false, relu, 1),
    (24, 5, 72, 40, true, relu, 2),
    (40, 5, 120, 40, true, relu, 1),
    (40, 5, 120, 40, true, relu, 1),
    (40, 3, 240, 80, false, hardswish, 2),
    (80, 3, 200, 80, false, hardswish, 1),
    (80, 3, 184, 80, false, hardswish, 1),
    (80, 3, 184, 80, false, hardswish, 1),
    (80, 3, 480, 112, true, hardswish, 1),
    (112, 3, 672, 112, true, hardswish, 1),
    (112, 5, 672, 160, true, hardswish, 2),
    (160, 5, 960, 160, true, hardswish, 1),
    (160, 5, 960, 160, true, hardswish, 1),
];

const SMALL: [Row; 11] = [
    (16, 3, 16, 16, true, relu, 2),
    (16, 3, 72, 24, false, relu, 2),
    (24, 3, 88, 24, false, relu, 1),
    (24, 5, 96, 40, true, hardswish, 2),
    (40, 5, 240, 40, true, hardswish, 1),
    (40, 5, 240, 40, true, hardswish, 1),
    (40, 5, 120, 48, true, hardswish, 1),
    (48, 5, 144, 48, true, hardswish, 1),
    (48, 5, 288, 96, true, hardswish, 2),
    (96, 5, 576, 96, true, hardswish, 1),
    (96, 5, 576, 96, true, hardswish, 1),
];

/// Returns the settings of a block.
fn block(&(in_channels, kernel, hidden, out_channels, squeezes, activation, stride): &Row) -> Block {
    // torchvision rounds to the nearest multiple of 8, or up if that is too low, which is up for all of these rows.
    let squeezed = (hidden / 4).next_multiple_of(8);
    let squeeze = squeezes.then_some((squeezed, [relu as Activation, hardsigmoid]));
    Block {
        in_channels,
        hidden,
        out_channels,
        kernel,
        stride,
        norm,
        activation,
        squeeze,
        fused: false,
        p: 0.,
    }
}

/// Returns the config of a batch norm.
fn norm(channels: usize) -> BatchNormConfig {
    BatchNorm::config(channels).eps(1e-3).momentum(0.01)
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(rows: &'static [Row], hidden: usize, classes: usize = 1000, width: usize = rows[rows.len() - 1].3),
    forward = |x| {
        let x = adaptive_avg_pool2d(head(blocks(stem(x))), 1);
        classifier(dropout(hardswish(expand(flatten(x, 1)))))
    },
)]
pub struct MobileNetV3 {
    #[layer(3, 16, norm, hardswish, kernel = 3, stride = 2)]
    #[module(rename = "features.0")]
    stem: ConvNormActivation,
    #[layer(self::block(row); for row in rows)]
    #[module(rename = "features.{1..}")]
    blocks: Vec<InvertedResidual>,
    #[layer(width, 6 * width, norm, hardswish)]
    #[module(rename = "features.{last}")]
    head: ConvNormActivation,
    #[layer(6 * width, hidden)]
    #[module(rename = "classifier.0")]
    expand: Linear,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(hidden, classes)]
    #[module(rename = "classifier.3")]
    classifier: Linear,
    #[module(skip = rows.len() + 1)]
    last: usize,
}

/// Returns the config of MobileNetV3 Large for 1000 classes.
pub fn mobilenet_v3_large() -> MobileNetV3Config {
    MobileNetV3::config(&LARGE, 1280)
}

/// Returns the config of MobileNetV3 Small for 1000 classes.
pub fn mobilenet_v3_small() -> MobileNetV3Config {
    MobileNetV3::config(&SMALL, 1024)
}
