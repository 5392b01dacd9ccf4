//! GoogLeNet (Szegedy et al. 2014, <https://arxiv.org/abs/1409.4842>), with the parameter names of torchvision's
//! checkpoints.

use sconce::prelude::*;

/// A convolution without bias, followed by batch norm and ReLU.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, kernel: usize, stride: usize = 1))]
pub struct BasicConv {
    #[layer(in_channels, out_channels, kernel, stride = stride, padding = kernel / 2, bias = false)]
    conv: Conv2d,
    #[layer(out_channels, eps = 1e-3)]
    bn: BatchNorm,
    relu: Relu,
}

/// A 1×1 convolution, then a 3×3 convolution.
#[derive(Module)]
#[module(args(in_channels: usize, reduced: usize, out_channels: usize))]
pub struct Reduced(#[layer(in_channels, reduced, 1)] BasicConv, #[layer(reduced, out_channels, 3)] BasicConv);

/// Max pooling with stride 1, then a 1×1 convolution.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize))]
pub struct Pooled(
    #[layer(3, stride = 1, padding = 1, ceil_mode = true)] MaxPool2d,
    #[layer(in_channels, out_channels, 1)] BasicConv,
);

/// Four parallel branches, concatenated along the channels. `one` and `pool` are the output channels of the first and
/// the last branch. `three` and `five` are the reduced and the output channels of the branches between them.
#[derive(Module)]
#[module(args(in_channels: usize, one: usize, three: [usize; 2], five: [usize; 2], pool: usize),
    forward = |x| cat([branch1(x), branch2(x), branch3(x), branch4(x)], 1),
)]
pub struct Inception {
    #[layer(in_channels, one, 1)]
    branch1: BasicConv,
    #[layer(in_channels, three[0], three[1])]
    branch2: Reduced,
    // 5×5 in the paper, 3×3 in torchvision's checkpoints.
    #[layer(in_channels, five[0], five[1])]
    branch3: Reduced,
    #[layer(in_channels, pool)]
    branch4: Pooled,
}

/// An auxiliary classifier at an intermediate layer, which helps to train the layers before it.
#[derive(Module)]
#[module(
    args(in_channels: usize, classes: usize),
    forward = |x| {
        let x = flatten(conv(adaptive_avg_pool2d(x, 4)), 1);
        fc2(dropout(relu(fc1(x))))
    },
)]
pub struct Auxiliary {
    #[layer(in_channels, 128, 1)]
    conv: BasicConv,
    #[layer(2048, 1024)]
    fc1: Linear,
    #[layer(1024, classes)]
    fc2: Linear,
    #[layer(0.7)]
    dropout: Dropout,
}

/// Maps images to `(logits, logits of aux2, logits of aux1)`. The last two are `None` except in training.
#[derive(Module)]
#[module(
    args(classes: usize = 1000, aux_logits: bool = true),
    forward = |x| -> (Signal, Option<Signal>, Option<Signal>) {
        let x = maxpool1(conv1(x));
        let x = maxpool2(conv3(conv2(x)));
        let x = inception4a(maxpool3(inception3b(inception3a(x))));
        let first = if mode.is_train() { aux1.as_ref().map(|aux1| aux1(x)) } else { None };
        let x = inception4d(inception4c(inception4b(x)));
        let second = if mode.is_train() { aux2.as_ref().map(|aux2| aux2(x)) } else { None };
        let x = inception5b(inception5a(maxpool4(inception4e(x))));
        (fc(dropout(flatten(adaptive_avg_pool2d(x, 1), 1))), second, first)
    },
)]
pub struct GoogLeNet {
    #[layer(3, 64, 7, stride = 2)]
    conv1: BasicConv,
    #[layer(3, stride = 2, ceil_mode = true)]
    maxpool1: MaxPool2d,
    #[layer(64, 64, 1)]
    conv2: BasicConv,
    #[layer(64, 192, 3)]
    conv3: BasicConv,
    #[layer(3, stride = 2, ceil_mode = true)]
    maxpool2: MaxPool2d,
    #[layer(192, 64, [96, 128], [16, 32], 32)]
    inception3a: Inception,
    #[layer(256, 128, [128, 192], [32, 96], 64)]
    inception3b: Inception,
    #[layer(3, stride = 2, ceil_mode = true)]
    maxpool3: MaxPool2d,
    #[layer(480, 192, [96, 208], [16, 48], 64)]
    inception4a: Inception,
    #[layer(512, 160, [112, 224], [24, 64], 64)]
    inception4b: Inception,
    #[layer(512, 128, [128, 256], [24, 64], 64)]
    inception4c: Inception,
    #[layer(512, 112, [144, 288], [32, 64], 64)]
    inception4d: Inception,
    #[layer(528, 256, [160, 320], [32, 128], 128)]
    inception4e: Inception,
    #[layer(2, stride = 2, ceil_mode = true)]
    maxpool4: MaxPool2d,
    #[layer(832, 256, [160, 320], [32, 128], 128)]
    inception5a: Inception,
    #[layer(832, 384, [192, 384], [48, 128], 128)]
    inception5b: Inception,
    #[layer(512, classes; if aux_logits)]
    aux1: Option<Auxiliary>,
    #[layer(528, classes; if aux_logits)]
    aux2: Option<Auxiliary>,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(1024, classes)]
    fc: Linear,
}

/// Returns the config of GoogLeNet for 1000 classes, with auxiliary classifiers.
pub fn googlenet() -> GoogLeNetConfig {
    GoogLeNet::config()
}
