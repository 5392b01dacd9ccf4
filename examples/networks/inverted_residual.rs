//! The blocks of MobileNetV3 and the EfficientNets, with the parameter names of torchvision's checkpoints.

use std::convert::identity;

use sconce::prelude::*;

/// A function of a signal, such as `relu`.
pub type Activation = fn(Signal) -> Signal;

/// A function from a number of channels to the config of a batch norm.
pub type Norm = fn(usize) -> BatchNormConfig;

/// A convolution without bias, followed by batch norm and an activation.
#[derive(Module)]
#[module(
    args(in_channels: usize, out_channels: usize, norm: Norm, activation: Activation, kernel: usize = 1,
        stride: usize = 1, groups: usize = 1),
    forward = |x| activation(norm(conv(x))),
)]
pub struct ConvNormActivation {
    #[layer(in_channels, out_channels, kernel, stride = stride, padding = kernel / 2, groups = groups, bias = false)]
    #[module(rename = "0")]
    conv: Conv2d,
    #[layer(with = |vb| Ok(norm(out_channels).build(vb)?))]
    #[module(rename = "1")]
    norm: BatchNorm,
    #[module(skip = activation)]
    activation: Activation,
}

/// Multiplies each channel by a factor that is computed from the means of all channels.
#[derive(Module)]
#[module(args(channels: usize, squeezed: usize, activations: [Activation; 2]), forward = |x| {
    let [activation, scale_activation] = activations;
    x * scale_activation(fc2(activation(fc1(adaptive_avg_pool2d(x, 1)))))
})]
pub struct SqueezeExcitation {
    #[layer(channels, squeezed, 1)]
    fc1: Conv2d,
    #[layer(squeezed, channels, 1)]
    fc2: Conv2d,
    #[module(skip = activations)]
    activations: [Activation; 2],
}

/// The settings of an [`InvertedResidual`].
#[derive(Clone, Copy)]
pub struct Block {
    /// The number of input channels.
    pub in_channels: usize,
    /// The number of channels between the convolutions.
    pub hidden: usize,
    /// The number of output channels.
    pub out_channels: usize,
    /// The kernel size of the depthwise or fused convolution.
    pub kernel: usize,
    /// The stride of the depthwise or fused convolution.
    pub stride: usize,
    /// The batch norm after each convolution.
    pub norm: Norm,
    /// The activation after each convolution but the last, or after the only one.
    pub activation: Activation,
    /// The number of channels and the activations of squeeze-and-excitation.
    pub squeeze: Option<(usize, [Activation; 2])>,
    /// Whether one convolution replaces two: the 1×1 convolution that expands the channels, and the depthwise
    /// convolution.
    pub fused: bool,
    /// The probability with which stochastic depth drops the block.
    pub p: f64,
}

impl Block {
    /// Returns the layers. If the number of channels stays the same, no convolution expands them.
    fn layers(self) -> SequentialConfig {
        let Self { in_channels, hidden, out_channels, kernel, stride, norm, activation, .. } = self;
        let conv =
            |inputs, outputs, activation| ConvNormActivation::config(inputs, outputs, norm, activation);
        let spatial = |inputs, outputs| conv(inputs, outputs, activation).kernel(kernel).stride(stride);
        let mut layers = Sequential::config();
        if self.fused && hidden == in_channels {
            return layers.push(spatial(hidden, out_channels));
        }
        if self.fused {
            layers = layers.push(spatial(in_channels, hidden));
        } else {
            if hidden != in_channels {
                layers = layers.push(conv(in_channels, hidden, activation));
            }
            layers = layers.push(spatial(hidden, hidden).groups(hidden));
        }
        if let Some((squeezed, activations)) = self.squeeze {
            layers = layers.push(SqueezeExcitation::config(hidden, squeezed, activations));
        }
        layers.push(conv(hidden, out_channels, identity))
    }
}

/// An inverted bottleneck. It has a residual connection if its input and output have the same shape.
#[derive(Module)]
#[module(
    args(settings: Block),
    forward = |x| if shortcut { stochastic_depth(block(x)) + x } else { block(x) },
)]
pub struct InvertedResidual {
    #[layer(extend = settings.layers())]
    block: Sequential,
    #[layer(settings.p, "row")]
    stochastic_depth: StochasticDepth,
    // A field that is no layer, with its value.
    #[module(skip = settings.stride == 1 && settings.in_channels == settings.out_channels)]
    shortcut: bool,
}
