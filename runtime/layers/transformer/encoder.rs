//! A stack of encoder layers.

use std::borrow::Cow;

use candle_nn::VarBuilder;

use crate::config::Config;
use crate::layers::{LayerNorm, LayerNormConfig};
use crate::module::{Forward, ForwardWith, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;
use crate::{Error, Result};

use super::encoder_layer::build;
use super::{EncoderInputs, TransformerEncoderLayer, TransformerEncoderLayerConfig, encoder_calls};

/// A transformer encoder: several [`TransformerEncoderLayer`]s, optionally followed by a norm.
///
/// - Config: `TransformerEncoder::config(encoder_layer, num_layers)` with the config of a layer; setter `norm` (`None`)
/// - Input: `encoder(src)` or `encoder(src, mask, src_key_padding_mask)` in a forward closure; either mask may be
///   `None`
/// - Output: the shape of `src`
/// - Fails if `num_layers` is 0, or if a layer fails
///
/// Every layer gets the same masks; [`TransformerEncoderLayer`] describes all shapes. Each layer has its own initial
/// values, but PyTorch copies the values of one layer. PyTorch's arguments `enable_nested_tensor` and `mask_check`,
/// which only affect the speed, do not exist.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(args(layers: usize = 2), forward = |tokens| head(encoder(embedding(tokens)).mean(1)))]
/// struct Classifier {
///     #[layer(100, 16)]
///     embedding: Embedding,
///     #[layer(
///         TransformerEncoderLayer::config(16, 4).dim_feedforward(32).batch_first(true).norm_first(true),
///         layers,
///         norm = LayerNorm::config(16),
///     )]
///     encoder: TransformerEncoder,
///     #[layer(16, 3)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let tokens = Tensor::zeros((2, 5), DType::U32, &Device::Cpu)?; // [batch, positions]
/// let classifier = Classifier::new(&Device::Cpu)?;
/// assert_eq!(classifier.forward(tokens)?.dims(), [2, 3]);
/// assert!(classifier.state_dict().contains_key("encoder.layers.1.self_attn.in_proj_weight"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TransformerEncoder {
    layers: Vec<TransformerEncoderLayer>,
    norm: Option<LayerNorm>,
}

/// The config of [`TransformerEncoder`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let layer = TransformerEncoderLayer::config(8, 2).dim_feedforward(16);
/// let encoder = TransformerEncoder::config(layer, 2).norm(LayerNorm::config(8)).init(&Device::Cpu)?;
/// let x = Tensor::ones((5, 2, 8), DType::F32, &Device::Cpu)?; // [positions, batch, features]
/// assert_eq!(encoder.forward(&x)?.dims(), [5, 2, 8]);
/// assert!(TransformerEncoder::config(layer, 0).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TransformerEncoderConfig {
    encoder_layer: TransformerEncoderLayerConfig,
    num_layers: usize,
    norm: Option<LayerNormConfig>,
}

impl TransformerEncoder {
    /// Creates the config without a norm.
    pub fn config(
        encoder_layer: TransformerEncoderLayerConfig,
        num_layers: usize,
    ) -> TransformerEncoderConfig {
        TransformerEncoderConfig { encoder_layer, num_layers, norm: None }
    }

    fn encode(&self, (src, mask, padding): EncoderInputs, mode: Mode) -> Signal {
        let x = self
            .layers
            .iter()
            .fold(src, |x, layer| layer.call_with((x, mask.clone(), padding.clone()), mode));
        match &self.norm {
            Some(norm) => norm.call(x, mode),
            None => x,
        }
    }
}

impl TransformerEncoderConfig {
    /// Sets the norm after the last layer. Default: `None`.
    pub fn norm(mut self, norm: impl Into<Option<LayerNormConfig>>) -> Self {
        self.norm = norm.into();
        self
    }
}

impl Config for TransformerEncoderConfig {
    type Output = TransformerEncoder;

    fn build(self, vb: VarBuilder) -> Result<TransformerEncoder> {
        if self.num_layers == 0 {
            return Err(Error::msg("expected num_layers ≥ 1, found 0").in_layer("TransformerEncoder"));
        }
        let layer = |i: usize| build(self.encoder_layer, &i.to_string(), &vb.pp("layers"));
        let layers = (0..self.num_layers).map(layer).collect::<Result<_>>()?;
        let norm = self.norm.map(|norm| build(norm, "norm", &vb)).transpose()?;
        Ok(TransformerEncoder { layers, norm })
    }
}

impl Module for TransformerEncoder {
    fn kind(&self) -> Cow<'static, str> {
        "TransformerEncoder".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.child("layers", &self.layers);
        if let Some(norm) = &self.norm {
            visitor.child("norm", norm);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.child("layers", &mut self.layers);
        if let Some(norm) = &mut self.norm {
            visitor.child("norm", norm);
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

encoder_calls!(TransformerEncoder);
