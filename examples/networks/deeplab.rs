//! DeepLabV3 with a ResNet-50 (Chen et al. 2017, <https://arxiv.org/abs/1706.05587>), with the parameter names of
//! torchvision's checkpoints.

use sconce::prelude::*;

use super::resnet::Backbone;

/// A convolution with a dilation, batch norm and ReLU.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, kernel: usize, dilation: usize = 1))]
pub struct ConvBnRelu(
    #[layer(in_channels, out_channels, kernel, padding = kernel / 2 * dilation, dilation = dilation, bias = false)]
     Conv2d,
    #[layer(out_channels)] BatchNorm,
    Relu,
);

/// Atrous spatial pyramid pooling: parallel convolutions with different dilations, and the means of the image.
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize), forward = |x| {
    let mut branches: Vec<Signal> = convs.iter().map(|conv| conv(x)).collect();
    branches.push(resize(pooling(x), &x)?);
    dropout(project(cat(branches, 1)))
})]
pub struct Aspp {
    #[layer(in_channels, out_channels, kernel, dilation = dilation;
        for (kernel, dilation) in [(1, 1), (3, 12), (3, 24), (3, 36)])]
    convs: Vec<ConvBnRelu>,
    #[layer((1), (in_channels, out_channels, 1, bias = false), (out_channels), ())]
    #[module(rename = "convs.4")]
    pooling: (AdaptiveAvgPool2d, Conv2d, BatchNorm, Relu),
    #[layer(5 * out_channels, out_channels, 1)]
    project: ConvBnRelu,
    dropout: Dropout,
}

/// Resizes `x` to the height and the width of `like`.
fn resize(x: Signal, like: &Signal) -> Result<Signal> {
    Ok(interpolate(x, Upsample::config().size((like.dim(2)?, like.dim(3)?)).mode("bilinear")))
}

/// A 3×3 convolution, and a 1×1 convolution with one output channel per class. This auxiliary classifier helps to train
/// the third stage.
#[derive(Module)]
#[module(args(classes: usize))]
pub struct FcnHead(
    #[layer(1024, 256, 3, padding = 1, bias = false)] Conv2d,
    #[layer(256)] BatchNorm,
    Relu,
    #[layer(0.1)] Dropout,
    #[layer(256, classes, 1)] Conv2d,
);

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes, height, width]`, and to those of the auxiliary
/// classifier if there is one.
#[derive(Module)]
#[module(
    args(classes: usize = 21, aux_loss: bool = false),
    forward = |x| -> (Signal, Option<Signal>) {
        let (third, last) = backbone(x);
        let aux = aux_classifier.as_ref().map(|aux| resize(aux(third), &x)).transpose()?;
        (resize(classifier(last), &x)?, aux)
    },
)]
pub struct DeepLabV3 {
    #[layer(true, [3, 4, 6, 3], dilated = [false, true, true])]
    backbone: Backbone,
    #[layer((2048, 256), (256, 256, 3, padding = 1, bias = false), (256), (), (256, classes, 1))]
    classifier: (Aspp, Conv2d, BatchNorm, Relu, Conv2d),
    #[layer(classes; if aux_loss)]
    aux_classifier: Option<FcnHead>,
}

/// Returns the config of DeepLabV3 with a ResNet-50 for the 21 classes of Pascal VOC, without auxiliary classifier.
pub fn deeplabv3_resnet50() -> DeepLabV3Config {
    DeepLabV3::config()
}
