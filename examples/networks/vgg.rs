//! VGG-16 with batch norm (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>), with the parameter names
//! of torchvision's checkpoints.

use sconce::prelude::*;

/// The output channels of the convolutions; 0 stands for a max pooling layer.
const VGG16: [usize; 18] = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];

/// Returns the config of the convolutional part.
pub fn features() -> SequentialConfig {
    let mut layers = Sequential::config();
    let mut in_channels = 3;
    for width in VGG16 {
        if width == 0 {
            layers = layers.push(MaxPool2d::config(2));
            continue;
        }
        layers = layers.push(Conv2d::config(in_channels, width, 3).padding(1));
        layers = layers.push(BatchNorm::config(width)).push(Relu);
        in_channels = width;
    }
    layers
}

/// Three linear layers with ReLU and dropout between them.
#[derive(Module)]
#[module(args(classes: usize))]
pub struct Classifier(
    #[layer(512 * 7 * 7, 4096)] Linear,
    Relu,
    Dropout,
    #[layer(4096, 4096)] Linear,
    Relu,
    Dropout,
    #[layer(4096, classes)] Linear,
);

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(classes: usize = 1000),
    forward = |x| classifier(flatten(adaptive_avg_pool2d(features(x), 7), 1)),
)]
pub struct Vgg {
    #[layer(extend = self::features())]
    features: Sequential,
    #[layer(classes)]
    classifier: Classifier,
}

/// Returns the config of VGG-16 with batch norm for 1000 classes.
pub fn vgg16_bn() -> VggConfig {
    Vgg::config()
}
