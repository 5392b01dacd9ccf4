//! One layer of a transformer encoder.

use std::borrow::Cow;

use candle_nn::VarBuilder;

use crate::config::Config;
use crate::layers::{
    Dropout, LayerNorm, LayerNormConfig, Linear, LinearConfig, MultiheadAttention, MultiheadAttentionConfig,
};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

use super::{EncoderInputs, encoder_calls};

/// A layer of a transformer encoder: self-attention, then two linear layers at each position. Each of the two parts is
/// added to its input and normalized.
///
/// - Config: `TransformerEncoderLayer::config(d_model, nhead)`; setters `dim_feedforward` (2048), `dropout` (0.1),
///   `activation` (`"relu"`, or `"gelu"`), `layer_norm_eps` (1e-5), `batch_first` (false), `norm_first` (false), `bias`
///   (true), `is_causal` (false); in PyTorch, the last is an argument of the call
/// - Input: `layer(src)` or `layer(src, src_mask, src_key_padding_mask)` in a forward closure; either mask may be
///   `None`
/// - Output: the shape of `src`
/// - Fails if `nhead` does not divide `d_model`, if `dropout` is not between 0 and 1, if `activation` is neither
///   `"relu"` nor `"gelu"`, if a shape does not match the table, or if the dtype of a mask is neither u8 nor floating
///   point
///
/// | tensor | shape |
/// |---|---|
/// | `src` | `[length, batch, d_model]` |
/// | `src_mask` | `[length, length]` or `[batch · nhead, length, length]` |
/// | `src_key_padding_mask` | `[batch, length]` |
///
/// With `batch_first`, `src` is `[batch, length, d_model]`. The batch dimension may be omitted from all tensors. The
/// masks are those of [`MultiheadAttention`]: the nonzero elements of a u8 mask hide positions, and a floating-point
/// mask is added to the scores. Both masks can be combined with each other and with `is_causal`.
///
/// With `norm_first`, each part reads its input through the norm, and the sum is not normalized (pre-norm). Unlike
/// PyTorch's fast path for inference, the layer computes the outputs at padded positions like the others, and does not
/// set them to zero. Functions are not supported as `activation`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x, padding: Tensor| second(first(x), None, Some(padding.into())))]
/// struct Pair {
///     #[layer(16, 4, dim_feedforward = 32, batch_first = true)]
///     first: TransformerEncoderLayer,
///     #[layer(16, 4, dim_feedforward = 32, batch_first = true, activation = "gelu", norm_first = true)]
///     second: TransformerEncoderLayer,
/// }
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 3, 16), DType::F32, &Device::Cpu)?; // [batch, positions, features]
/// let padding = Tensor::new(&[[0u8, 0, 0], [0, 0, 1]], &Device::Cpu)?; // hides one position of the second example
/// let pair = Pair::new(&Device::Cpu)?;
/// assert_eq!(pair.forward(&x, padding)?.dims(), [2, 3, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TransformerEncoderLayer {
    self_attn: MultiheadAttention,
    linear1: Linear,
    dropout: Dropout,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    activation: fn(Signal) -> Signal,
    norm_first: bool,
}

/// The config of [`TransformerEncoderLayer`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let layer = TransformerEncoderLayer::config(8, 2).dim_feedforward(32).bias(false).init(&Device::Cpu)?;
/// let state = layer.state_dict();
/// let names: Vec<&str> = state.keys().collect();
/// let attention = ["self_attn.in_proj_weight", "self_attn.out_proj.weight"];
/// assert_eq!(names[..2], attention);
/// assert_eq!(names[2..], ["linear1.weight", "linear2.weight", "norm1.weight", "norm2.weight"]);
/// assert!(TransformerEncoderLayer::config(8, 2).activation("tanh").init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TransformerEncoderLayerConfig {
    d_model: usize,
    nhead: usize,
    dim_feedforward: usize,
    dropout: f64,
    activation: &'static str,
    layer_norm_eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
    is_causal: bool,
}

impl TransformerEncoderLayer {
    /// Creates the config with PyTorch's defaults.
    pub fn config(d_model: usize, nhead: usize) -> TransformerEncoderLayerConfig {
        TransformerEncoderLayerConfig {
            d_model,
            nhead,
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: "relu",
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
            is_causal: false,
        }
    }

    fn encode(&self, (x, mask, padding): EncoderInputs, mode: Mode) -> Signal {
        let attend = |x: Signal| {
            let (y, _) = self.self_attn.call((x.clone(), x.clone(), x, padding, mask), mode);
            self.dropout1.call(y, mode)
        };
        let feed_forward = |x: Signal| {
            let hidden = (self.activation)(self.linear1.call(x, mode));
            let hidden = self.dropout.call(hidden, mode);
            self.dropout2.call(self.linear2.call(hidden, mode), mode)
        };
        if self.norm_first {
            let x = x.clone() + attend(self.norm1.call(x, mode));
            x.clone() + feed_forward(self.norm2.call(x, mode))
        } else {
            let x = self.norm1.call(x.clone() + attend(x), mode);
            self.norm2.call(x.clone() + feed_forward(x), mode)
        }
    }
}

impl TransformerEncoderLayerConfig {
    /// Sets the number of features between the two linear layers. Default: 2048.
    pub fn dim_feedforward(mut self, features: usize) -> Self {
        self.dim_feedforward = features;
        self
    }

    /// Sets the probability of all dropouts: of the attention weights, of the features between the linear layers, and
    /// of the outputs of both parts. Default: 0.1.
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Sets the activation between the two linear layers: `"relu"` or `"gelu"`. Default: `"relu"`.
    pub fn activation(mut self, activation: &'static str) -> Self {
        self.activation = activation;
        self
    }

    /// Sets the number that the norms add to the variance before the square root. Default: 1e-5.
    pub fn layer_norm_eps(mut self, eps: f64) -> Self {
        self.layer_norm_eps = eps;
        self
    }

    /// Sets whether the layout is `[batch, length, features]` instead of `[length, batch, features]`. Default: `false`.
    pub fn batch_first(mut self, first: bool) -> Self {
        self.batch_first = first;
        self
    }

    /// Sets whether each part normalizes its input instead of the sum of its input and output. Default: `false`.
    pub fn norm_first(mut self, first: bool) -> Self {
        self.norm_first = first;
        self
    }

    /// Sets whether the linear layers, the attention and the norms have biases. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets whether each position attends only to itself and earlier positions. Default: `false`.
    pub fn is_causal(mut self, causal: bool) -> Self {
        self.is_causal = causal;
        self
    }

    fn activation_function(&self) -> Result<fn(Signal) -> Signal> {
        match self.activation {
            "relu" => Ok(ops::relu),
            "gelu" => Ok(ops::gelu),
            found => Err(Error::msg(format!("expected activation \"relu\" or \"gelu\", found {found:?}"))
                .in_layer("TransformerEncoderLayer")),
        }
    }

    fn attention(&self) -> MultiheadAttentionConfig {
        MultiheadAttention::config(self.d_model, self.nhead)
            .dropout(self.dropout)
            .bias(self.bias)
            .batch_first(self.batch_first)
            .is_causal(self.is_causal)
            .need_weights(false)
    }

    fn linear(&self, in_features: usize, out_features: usize) -> LinearConfig {
        Linear::config(in_features, out_features).bias(self.bias)
    }

    fn norm(&self) -> LayerNormConfig {
        LayerNorm::config(self.d_model).eps(self.layer_norm_eps).bias(self.bias)
    }
}

impl Config for TransformerEncoderLayerConfig {
    type Output = TransformerEncoderLayer;

    fn build(self, vb: VarBuilder) -> Result<TransformerEncoderLayer> {
        let Self { d_model, dim_feedforward, norm_first, .. } = self;
        let activation = self.activation_function()?;
        let dropout = Dropout::config(self.dropout);
        Ok(TransformerEncoderLayer {
            self_attn: build(self.attention(), "self_attn", &vb)?,
            linear1: build(self.linear(d_model, dim_feedforward), "linear1", &vb)?,
            dropout,
            linear2: build(self.linear(dim_feedforward, d_model), "linear2", &vb)?,
            norm1: build(self.norm(), "norm1", &vb)?,
            norm2: build(self.norm(), "norm2", &vb)?,
            dropout1: dropout,
            dropout2: dropout,
            activation,
            norm_first,
        })
    }
}

/// Builds the layer `name`. An error contains this name.
pub(super) fn build<C: Config>(config: C, name: &str, vb: &VarBuilder) -> Result<C::Output> {
    config.build(vb.pp(name)).map_err(|error| error.at(name))
}

impl Module for TransformerEncoderLayer {
    fn kind(&self) -> Cow<'static, str> {
        "TransformerEncoderLayer".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("self_attn", &self.self_attn);
        visitor.child("linear1", &self.linear1);
        visitor.child("dropout", &self.dropout);
        visitor.child("linear2", &self.linear2);
        visitor.child("norm1", &self.norm1);
        visitor.child("norm2", &self.norm2);
        visitor.child("dropout1", &self.dropout1);
        visitor.child("dropout2", &self.dropout2);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.child("self_attn", &mut self.self_attn);
        visitor.child("linear1", &mut self.linear1);
        visitor.child("dropout", &mut self.dropout);
        visitor.child("linear2", &mut self.linear2);
        visitor.child("norm1", &mut self.norm1);
        visitor.child("norm2", &mut self.norm2);
        visitor.child("dropout1", &mut self.dropout1);
        visitor.child("dropout2", &mut self.dropout2);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

encoder_calls!(TransformerEncoderLayer);
