//! DenseNet-121 (Huang et al. 2016, <https://arxiv.org/abs/1608.06993>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// The number of channels that each layer appends.
const GROWTH: usize = 32;

/// Computes `GROWTH` channels from all preceding channels and appends the new channels.
#[derive(Module)]
#[module(args(in_channels: usize), forward = |x| {
    let h = conv1(relu(norm1(x)));
    cat([x, conv2(relu(norm2(h)))], 1)
})]
pub struct DenseLayer {
    #[layer(in_channels)]
    norm1: BatchNorm,
    #[layer(in_channels, 4 * GROWTH, 1, bias = false)]
    conv1: Conv2d,
    #[layer(4 * GROWTH)]
    norm2: BatchNorm,
    #[layer(4 * GROWTH, GROWTH, 3, padding = 1, bias = false)]
    conv2: Conv2d,
}

/// Dense layers in sequence. Each layer reads the outputs of all preceding layers.
#[derive(Module)]
#[module(args(in_channels: usize, depth: usize))]
pub struct DenseBlock {
    #[layer(in_channels + i * GROWTH; for i in 0..depth)]
    // The names are `denselayer1`, `denselayer2` and so on.
    #[module(rename = "denselayer{1..}")]
    layers: Vec<DenseLayer>,
}

/// Halves the number of channels, the height and the width.
#[derive(Module)]
#[module(args(in_channels: usize))]
pub struct Transition {
    #[layer(in_channels)]
    norm: BatchNorm,
    relu: Relu,
    #[layer(in_channels, in_channels / 2, 1, bias = false)]
    conv: Conv2d,
    #[layer(2)]
    pool: AvgPool2d,
}

/// The convolutional part: four dense blocks with transitions between them.
#[derive(Module)]
pub struct Features {
    #[layer(3, 64, 7, stride = 2, padding = 3, bias = false)]
    conv0: Conv2d,
    #[layer(64)]
    norm0: BatchNorm,
    relu0: Relu,
    #[layer(3, stride = 2, padding = 1)]
    pool0: MaxPool2d,
    #[layer(64, 6)]
    denseblock1: DenseBlock,
    #[layer(256)]
    transition1: Transition,
    #[layer(128, 12)]
    denseblock2: DenseBlock,
    #[layer(512)]
    transition2: Transition,
    #[layer(256, 24)]
    denseblock3: DenseBlock,
    #[layer(1024)]
    transition3: Transition,
    #[layer(512, 16)]
    denseblock4: DenseBlock,
    #[layer(1024)]
    norm5: BatchNorm,
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(classes: usize = 1000),
    forward = |x| classifier(flatten(adaptive_avg_pool2d(relu(features(x)), 1), 1)),
)]
pub struct DenseNet {
    #[layer()]
    features: Features,
    #[layer(1024, classes)]
    classifier: Linear,
}

/// Returns the config of DenseNet-121 for 1000 classes.
pub fn densenet121() -> DenseNetConfig {
    DenseNet::config()
}
