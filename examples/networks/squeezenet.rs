//! SqueezeNet 1.1 (Iandola et al. 2016, <https://arxiv.org/abs/1602.07360>), with the parameter names of
//! torchvision's checkpoints.

use sconce::prelude::*;

/// Reduces the channels, then expands them with parallel 1×1 and 3×3 convolutions.
#[derive(Module)]
#[module(args(in_channels: usize, squeezed: usize, expanded: usize), forward = |x| {
    let x = relu(squeeze(x));
    cat([relu(expand1x1(x)), relu(expand3x3(x))], 1)
})]
pub struct Fire {
    #[layer(in_channels, squeezed, 1)]
    squeeze: Conv2d,
    #[layer(squeezed, expanded, 1)]
    expand1x1: Conv2d,
    #[layer(squeezed, expanded, 3, padding = 1)]
    expand3x3: Conv2d,
}

/// The convolutional part.
#[derive(Module)]
pub struct Features(
    #[layer(3, 64, 3, stride = 2)] Conv2d,
    Relu,
    #[layer(3, stride = 2, ceil_mode = true)] MaxPool2d,
    #[layer(64, 16, 64)] Fire,
    #[layer(128, 16, 64)] Fire,
    #[layer(3, stride = 2, ceil_mode = true)] MaxPool2d,
    #[layer(128, 32, 128)] Fire,
    #[layer(256, 32, 128)] Fire,
    #[layer(3, stride = 2, ceil_mode = true)] MaxPool2d,
    #[layer(256, 48, 192)] Fire,
    #[layer(384, 48, 192)] Fire,
    #[layer(384, 64, 256)] Fire,
    #[layer(512, 64, 256)] Fire,
);

/// A 1×1 convolution with one output channel per class, then global average pooling.
#[derive(Module)]
#[module(args(classes: usize))]
pub struct Classifier(
    Dropout,
    #[layer(512, classes, 1)] Conv2d,
    Relu,
    #[layer(1)] AdaptiveAvgPool2d,
    Flatten,
);

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(args(classes: usize = 1000))]
pub struct SqueezeNet {
    #[layer()]
    features: Features,
    #[layer(classes)]
    classifier: Classifier,
}

/// Returns the config of SqueezeNet 1.1 for 1000 classes.
pub fn squeezenet1_1() -> SqueezeNetConfig {
    SqueezeNet::config()
}
