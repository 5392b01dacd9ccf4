//! ResNet-18 and ResNet-50 (He et al. 2015, <https://arxiv.org/abs/1512.03385>), with the parameter names of
//! torchvision's checkpoints.

use sconce::prelude::*;

/// A residual block: two 3×3 convolutions, or, if it is a bottleneck, a 3×3 convolution between two 1×1 convolutions.
/// If `downsample` is `None`, `downsample(x)` is `x`.
#[derive(Module)]
#[module(
    args(bottleneck: bool, in_channels: usize, width: usize, stride: usize, dilation: usize,
        out_channels: usize = output_channels(bottleneck, width)),
    forward = |x| {
        let h = relu(bn1(conv1(x)));
        let mut h = bn2(conv2(h));
        if let Some(conv3) = conv3 && let Some(bn3) = bn3 {
            h = bn3(conv3(relu(h)));
        }
        relu(h + downsample(x))
    },
)]
pub struct Block {
    #[layer(in_channels, width, if bottleneck { 1 } else { 3 }, padding = if bottleneck { 0 } else { 1 },
        stride = if bottleneck { 1 } else { stride }, bias = false)]
    conv1: Conv2d,
    #[layer(width)]
    bn1: BatchNorm,
    #[layer(width, width, 3, padding = dilation, dilation = dilation, stride = if bottleneck { stride } else { 1 },
        bias = false)]
    conv2: Conv2d,
    #[layer(width)]
    bn2: BatchNorm,
    #[layer(width, out_channels, 1, bias = false; if bottleneck)]
    conv3: Option<Conv2d>,
    #[layer(out_channels; if bottleneck)]
    bn3: Option<BatchNorm>,
    #[layer(in_channels, out_channels, stride; if stride != 1 || in_channels != out_channels)]
    downsample: Option<Downsample>,
}

/// A 1×1 convolution and its batch norm, with parameters `0.weight`, `1.weight`, …
#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, stride: usize))]
pub struct Downsample(
    #[layer(in_channels, out_channels, 1, stride = stride, bias = false)] Conv2d,
    #[layer(out_channels)] BatchNorm,
);

/// Returns the number of output channels of a block.
fn output_channels(bottleneck: bool, width: usize) -> usize {
    if bottleneck { 4 * width } else { width }
}

/// Returns the input channels, width, stride and dilation of the blocks of each stage. The last three stages halve the
/// height and the width, or, if they are `dilated`, double the dilation of the blocks after their first.
fn stages(bottleneck: bool, depths: [usize; 4], dilated: [bool; 3]) -> Vec<Vec<[usize; 4]>> {
    let mut in_channels = 64;
    let mut dilation = 1;
    let mut stages = Vec::new();
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        let is_dilated = stage > 0 && dilated[stage - 1];
        let first = [in_channels, width, if stage == 0 || is_dilated { 1 } else { 2 }, dilation];
        in_channels = output_channels(bottleneck, width);
        dilation *= if is_dilated { 2 } else { 1 };
        let block = |i| if i == 0 { first } else { [in_channels, width, 1, dilation] };
        stages.push((0..depth).map(block).collect());
    }
    stages
}

/// Maps images `[batch, 3, height, width]` to the outputs of the last two stages.
#[derive(Module)]
#[module(args(bottleneck: bool, depths: [usize; 4], dilated: [bool; 3] = [false; 3]), forward = |x| {
    let x = max_pool2d(relu(bn1(conv1(x))), MaxPool2d::config(3).stride(2).padding(1));
    let x = layers[2](layers[1](layers[0](x)));
    (x, layers[3](x))
})]
pub struct Backbone {
    #[layer(3, 64, 7, stride = 2, padding = 3, bias = false)]
    conv1: Conv2d,
    #[layer(64)]
    bn1: BatchNorm,
    #[layer(bottleneck, in_channels, width, stride, dilation;
        for stage in self::stages(bottleneck, depths, dilated), for [in_channels, width, stride, dilation] in stage)]
    #[module(rename = "layer{1..}")]
    layers: Vec<Vec<Block>>,
}

/// Maps images `[batch, 3, height, width]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(args(bottleneck: bool, depths: [usize; 4], classes: usize = 1000), forward = |x| {
    let (_, x) = backbone(x);
    fc(flatten(adaptive_avg_pool2d(x, 1), 1))
})]
pub struct ResNet {
    #[layer(bottleneck, depths)]
    #[module(rename = "")]
    backbone: Backbone,
    #[layer(output_channels(bottleneck, 512), classes)]
    fc: Linear,
}

/// Returns the config of ResNet-18 for 1000 classes.
pub fn resnet18() -> ResNetConfig {
    ResNet::config(false, [2, 2, 2, 2])
}

/// Returns the config of ResNet-50 for 1000 classes.
pub fn resnet50() -> ResNetConfig {
    ResNet::config(true, [3, 4, 6, 3])
}
