//! Builds the layers of a row of the table, which are written with PyTorch's names and arguments.

use std::borrow::Cow;

use sconce::nn::VarBuilder;
use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

use super::arguments::{
    Arguments, activation, approximation, axes, bag_mode, boolean, count, depth_mode, false_only, float,
    float_or_none, integer, integers, interpolation, length_padding, nonlinearity, output_size, padding,
    padding_mode, scale_factor, shape, sides, video_axes, video_padding, zeros_only,
};
use super::syntax::{Call, Kind, Row};

/// Defines `push`, which appends a layer to a network. The layer is given as a call in PyTorch's syntax.
///
/// Each entry has PyTorch's name of the layer, the function that creates its config, and the supported arguments in
/// PyTorch's order, each with the function that reads it. The arguments before `;` are passed to the function that
/// creates the config; `=` gives a default. The arguments after `;` are passed to setters of the config, if the call
/// gives them. With `or None`, Python's `None` counts as not given. `as FirstOutput` wraps the config in
/// [`FirstOutput`].
macro_rules! layers {
    ($(
        $name:literal => $config:path {
            $($argument:ident: $read:ident $(= $default:expr)?),*;
            $($setter:ident: $reader:ident $(or $none:ident)?),*
        } $(as $wrapper:ident)?
    )*) => {
        /// Appends to `network` the layer that `call` describes.
        fn push(network: SequentialConfig, call: &Call) -> Result<SequentialConfig, String> {
            match call.name {
                $($name => {
                    let names = &[$(stringify!($argument),)* $(stringify!($setter),)*];
                    #[allow(unused_variables, reason = "some layers have no arguments")]
                    let arguments = Arguments::new(call, names)?;
                    let layer = $config($(
                        layers!(@argument arguments, $argument, $read $(, $default)?)
                    ),*);
                    $(let layer = match layers!(@setting arguments, $setter, $reader $(, $none)?) {
                        Some(value) => layer.$setter(value),
                        None => layer,
                    };)*
                    Ok(network.push($($wrapper)?(layer)))
                })*
                "Sequential" => sequential(network, call),
                name => Err(format!("unknown layer `{name}`")),
            }
        }

        /// PyTorch's names of all layers.
        #[allow(dead_code, reason = "only a test of all layers uses it")]
        pub const NAMES: &[&str] = &["Sequential", $($name),*];
    };
    (@argument $arguments:ident, $argument:ident, $read:ident) => {
        $arguments.required(stringify!($argument), $read)?
    };
    (@argument $arguments:ident, $argument:ident, $read:ident, $default:expr) => {
        $arguments.optional(stringify!($argument), $read)?.unwrap_or($default)
    };
    (@setting $arguments:ident, $setter:ident, $reader:ident) => {
        $arguments.optional(stringify!($setter), $reader)?
    };
    (@setting $arguments:ident, $setter:ident, $reader:ident, None) => {
        $arguments.unless_none(stringify!($setter), $reader)?
    };
}

layers! {
    "Linear" => Linear::config { in_features: count, out_features: count; bias: boolean }
    "Embedding" => Embedding::config {
        num_embeddings: count, embedding_dim: count; padding_idx: count or None
    }
    "EmbeddingBag" => EmbeddingBag::config {
        num_embeddings: count, embedding_dim: count; mode: bag_mode, padding_idx: count or None
    }
    "RotaryPositionalEmbeddings" => RotaryEmbedding::config { dim: count; max_seq_len: count, base: float }
    "Identity" => Identity::config { ; }
    "Flatten" => Flatten::config { ; start_dim: integer, end_dim: integer }
    "Unflatten" => Unflatten::config { dim: integer, unflattened_size: integers; }

    "Conv1d" => Conv1d::config {
        in_channels: count, out_channels: count, kernel_size: count;
        stride: count, padding: length_padding, dilation: count, groups: count, bias: boolean,
        padding_mode: padding_mode
    }
    "Conv2d" => Conv2d::config {
        in_channels: count, out_channels: count, kernel_size: axes;
        stride: axes, padding: padding, dilation: axes, groups: count, bias: boolean, padding_mode: padding_mode
    }
    "Conv3d" => Conv3d::config {
        in_channels: count, out_channels: count, kernel_size: video_axes;
        stride: video_axes, padding: video_padding, dilation: video_axes, groups: count, bias: boolean,
        padding_mode: padding_mode
    }
    "ConvTranspose1d" => ConvTranspose1d::config {
        in_channels: count, out_channels: count, kernel_size: count;
        stride: count, padding: count, output_padding: count, groups: count, bias: boolean, dilation: count,
        padding_mode: zeros_only
    }
    "ConvTranspose2d" => ConvTranspose2d::config {
        in_channels: count, out_channels: count, kernel_size: axes;
        stride: axes, padding: axes, output_padding: axes, groups: count, bias: boolean, dilation: axes,
        padding_mode: zeros_only
    }
    "ConvTranspose3d" => ConvTranspose3d::config {
        in_channels: count, out_channels: count, kernel_size: video_axes;
        stride: video_axes, padding: video_axes, output_padding: video_axes, groups: count, bias: boolean,
        dilation: video_axes, padding_mode: zeros_only
    }

    "BatchNorm1d" => BatchNorm1d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "BatchNorm2d" => BatchNorm2d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "BatchNorm3d" => BatchNorm3d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "InstanceNorm1d" => InstanceNorm1d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "InstanceNorm2d" => InstanceNorm2d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "InstanceNorm3d" => InstanceNorm3d::config {
        num_features: count; eps: float, momentum: float_or_none, affine: boolean, track_running_stats: boolean
    }
    "GroupNorm" => GroupNorm::config { num_groups: count, num_channels: count; eps: float, affine: boolean }
    "LayerNorm" => LayerNorm::config {
        normalized_shape: shape; eps: float, elementwise_affine: boolean, bias: boolean
    }
    "LayerNorm2d" => LayerNorm2d::config { num_channels: count; eps: float, elementwise_affine: boolean, bias: boolean }
    "RMSNorm" => RmsNorm::config { normalized_shape: shape; eps: float_or_none, elementwise_affine: boolean }

    "MaxPool1d" => MaxPool1d::config {
        kernel_size: count;
        stride: count or None, padding: count, dilation: count, return_indices: false_only, ceil_mode: boolean
    }
    "MaxPool2d" => MaxPool2d::config {
        kernel_size: axes;
        stride: axes or None, padding: axes, dilation: axes, return_indices: false_only, ceil_mode: boolean
    }
    "MaxPool3d" => MaxPool3d::config {
        kernel_size: video_axes;
        stride: video_axes or None, padding: video_axes, dilation: video_axes, return_indices: false_only,
        ceil_mode: boolean
    }
    "AvgPool1d" => AvgPool1d::config {
        kernel_size: count; stride: count or None, padding: count, ceil_mode: boolean, count_include_pad: boolean
    }
    "AvgPool2d" => AvgPool2d::config {
        kernel_size: axes;
        stride: axes or None, padding: axes, ceil_mode: boolean, count_include_pad: boolean,
        divisor_override: count or None
    }
    "AvgPool3d" => AvgPool3d::config {
        kernel_size: video_axes;
        stride: video_axes or None, padding: video_axes, ceil_mode: boolean, count_include_pad: boolean,
        divisor_override: count or None
    }
    "AdaptiveAvgPool1d" => AdaptiveAvgPool1d::config { output_size: count; }
    "AdaptiveAvgPool2d" => AdaptiveAvgPool2d::config { output_size: output_size; }
    "AdaptiveAvgPool3d" => AdaptiveAvgPool3d::config { output_size: output_size; }
    "AdaptiveMaxPool1d" => AdaptiveMaxPool1d::config { output_size: count; return_indices: false_only }
    "AdaptiveMaxPool2d" => AdaptiveMaxPool2d::config { output_size: output_size; return_indices: false_only }
    "AdaptiveMaxPool3d" => AdaptiveMaxPool3d::config { output_size: output_size; return_indices: false_only }

    "Upsample" => Upsample::config {
        ;
        size: axes or None, scale_factor: scale_factor or None, mode: interpolation, align_corners: boolean or None,
        recompute_scale_factor: boolean or None
    }
    "Unfold" => Unfold::config { kernel_size: axes; dilation: axes, padding: axes, stride: axes }
    "Fold" => Fold::config { output_size: axes, kernel_size: axes; dilation: axes, padding: axes, stride: axes }
    "PixelShuffle" => PixelShuffle::config { upscale_factor: count; }
    "PixelUnshuffle" => PixelUnshuffle::config { downscale_factor: count; }
    "ChannelShuffle" => ChannelShuffle::config { groups: count; }
    "Permute" => Permute::config { dims: integers; }
    "ZeroPad2d" => ZeroPad2d::config { padding: sides; }
    "ReflectionPad2d" => ReflectionPad2d::config { padding: sides; }
    "ReplicationPad2d" => ReplicationPad2d::config { padding: sides; }
    "CircularPad2d" => CircularPad2d::config { padding: sides; }

    "ReLU" => Relu::config { ; inplace: boolean }
    "ReLU6" => Relu6::config { ; inplace: boolean }
    "SiLU" => Silu::config { ; inplace: boolean }
    "Mish" => Mish::config { ; inplace: boolean }
    "SELU" => Selu::config { ; inplace: boolean }
    "Hardswish" => Hardswish::config { ; inplace: boolean }
    "Hardsigmoid" => Hardsigmoid::config { ; inplace: boolean }
    "Sigmoid" => Sigmoid::config { ; }
    "LogSigmoid" => LogSigmoid::config { ; }
    "Tanh" => Tanh::config { ; }
    "GELU" => Gelu::config { ; approximate: approximation }
    "LeakyReLU" => LeakyRelu::config { ; negative_slope: float, inplace: boolean }
    "ELU" => Elu::config { ; alpha: float, inplace: boolean }
    "CELU" => Celu::config { ; alpha: float, inplace: boolean }
    "Softplus" => Softplus::config { ; beta: float, threshold: float }
    "Hardtanh" => Hardtanh::config { ; min_val: float, max_val: float, inplace: boolean }
    "Threshold" => Threshold::config { threshold: float, value: float; inplace: boolean }
    "Softshrink" => Softshrink::config { ; lambd: float }
    "Hardshrink" => Hardshrink::config { ; lambd: float }
    "Tanhshrink" => Tanhshrink::config { ; }
    "Softsign" => Softsign::config { ; }
    "RReLU" => RRelu::config { ; lower: float, upper: float, inplace: boolean }
    "Softmax2d" => Softmax2d::config { ; }
    "PReLU" => prelu { num_parameters: count = 1, init: float = 0.25; }
    "Softmax" => Softmax::config { dim: integer; }
    "LogSoftmax" => LogSoftmax::config { dim: integer; }
    "Softmin" => Softmin::config { dim: integer; }
    "GLU" => Glu::config { dim: integer = -1; }
    "Dropout" => Dropout::config { p: float = 0.5; inplace: boolean }
    "Dropout1d" => Dropout1d::config { p: float = 0.5; inplace: boolean }
    "Dropout2d" => Dropout2d::config { p: float = 0.5; inplace: boolean }
    "AlphaDropout" => AlphaDropout::config { p: float = 0.5; inplace: boolean }
    "FeatureAlphaDropout" => FeatureAlphaDropout::config { p: float = 0.5; inplace: boolean }
    "Dropout3d" => Dropout3d::config { p: float = 0.5; inplace: boolean }
    "StochasticDepth" => StochasticDepth::config { p: float, mode: depth_mode; }

    "MultiheadAttention" => SelfAttention::config {
        embed_dim: count, num_heads: count;
        dropout: float, bias: boolean, add_bias_kv: boolean, add_zero_attn: boolean, kdim: count or None,
        vdim: count or None, batch_first: boolean
    }
    "TransformerEncoderLayer" => TransformerEncoderLayer::config {
        d_model: count, nhead: count;
        dim_feedforward: count, dropout: float, activation: activation, layer_norm_eps: float, batch_first: boolean,
        norm_first: boolean, bias: boolean
    }
    "LSTM" => LSTM::config {
        input_size: count, hidden_size: count;
        num_layers: count, bias: boolean, batch_first: boolean, dropout: float, bidirectional: boolean,
        proj_size: count
    } as FirstOutput
    "GRU" => GRU::config {
        input_size: count, hidden_size: count;
        num_layers: count, bias: boolean, batch_first: boolean, dropout: float, bidirectional: boolean
    } as FirstOutput
    "RNN" => RNN::config {
        input_size: count, hidden_size: count;
        num_layers: count, nonlinearity: nonlinearity, bias: boolean, batch_first: boolean, dropout: float,
        bidirectional: boolean
    } as FirstOutput
    "LSTMCell" => LSTMCell::config { input_size: count, hidden_size: count; bias: boolean } as FirstOutput
    "GRUCell" => GRUCell::config { input_size: count, hidden_size: count; bias: boolean }
    "RNNCell" => RNNCell::config {
        input_size: count, hidden_size: count; bias: boolean, nonlinearity: nonlinearity
    }
}

/// Returns the config of a row's layers.
///
/// An error names the line, the layer, the argument and the value.
pub fn config(row: &Row) -> Result<SequentialConfig, String> {
    let config = row.layers.iter().try_fold(Sequential::config(), push);
    config.map_err(|error| format!("line {}: {error}", row.line))
}

/// Appends the layers of `Sequential(Layer(…), …)`.
fn sequential(network: SequentialConfig, call: &Call) -> Result<SequentialConfig, String> {
    if let Some((name, _)) = call.keyword.first() {
        return Err(format!("`Sequential` has no argument `{name}`"));
    }
    let mut inner = Sequential::config();
    for value in &call.positional {
        let Kind::Call(layer) = &value.kind else {
            return Err(format!("expected layers in `Sequential`, found `{}`", value.text));
        };
        inner = push(inner, layer)?;
    }
    Ok(network.push(inner))
}

/// Returns the number of embeddings if the layer is an `Embedding` or an `EmbeddingBag`. The input must consist of
/// indices below this number.
pub fn num_embeddings(call: &Call) -> Result<Option<usize>, String> {
    if !["Embedding", "EmbeddingBag"].contains(&call.name) {
        return Ok(None);
    }
    let arguments = Arguments::new(call, &["num_embeddings", "embedding_dim", "mode", "padding_idx"])?;
    arguments.required("num_embeddings", count).map(Some)
}

/// Returns the config of a PReLU. `layers!` cannot pass PyTorch's argument `init` to a setter, because the setter has
/// another name.
fn prelu(num_parameters: usize, init: f64) -> PReluConfig {
    PRelu::config().num_parameters(num_parameters).init_value(init)
}

/// Setters that sconce's configs lack. The supported values of these PyTorch arguments do not change the result.
trait WithoutEffect: Sized {
    fn inplace(self, _: bool) -> Self {
        self
    }

    /// `return_indices=False`.
    fn return_indices(self, (): ()) -> Self {
        self
    }

    /// `padding_mode="zeros"`, for transposed convolutions.
    fn padding_mode(self, (): ()) -> Self {
        self
    }
}

impl<T> WithoutEffect for T {}

/// Self-attention. Returns the output without the attention weights. Unlike in PyTorch, the batch is the first axis by
/// default, as in the tables of the peers.
#[derive(Module)]
#[module(
    args(embed_dim: usize, num_heads: usize, dropout: f64 = 0., bias: bool = true, add_bias_kv: bool = false,
        add_zero_attn: bool = false, kdim: usize = embed_dim, vdim: usize = embed_dim, batch_first: bool = true),
    forward = |x| {
        let (y, _) = attention(x, x, x);
        y
    },
)]
pub struct SelfAttention {
    #[layer(embed_dim, num_heads, dropout = dropout, bias = bias, add_bias_kv = add_bias_kv,
        add_zero_attn = add_zero_attn, kdim = kdim, vdim = vdim, batch_first = batch_first, need_weights = false)]
    attention: MultiheadAttention,
}

/// A recurrent layer that returns only its first output, without the final state; or the config of such a layer.
struct FirstOutput<T>(T);

impl<C: Config> Config for FirstOutput<C> {
    type Output = FirstOutput<C::Output>;

    fn build(self, vb: VarBuilder) -> Result<Self::Output> {
        self.0.build(vb).map(FirstOutput)
    }
}

impl<L: Module> Module for FirstOutput<L> {
    fn kind(&self) -> Cow<'static, str> {
        self.0.kind()
    }

    fn extra(&self) -> String {
        self.0.extra()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.0.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.0.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        Self(self.0.share())
    }
}

impl<State, L: Forward<Output = (Signal, State)>> Forward for FirstOutput<L> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        self.0.call(x, mode).0
    }
}
