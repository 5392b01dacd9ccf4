//! Multi-head attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>).

mod config;
mod masks;
mod meta;

use std::borrow::Cow;

use candle_core::Tensor;

use crate::graph::{Description, MultiheadAttention as AttentionOp, Op};
use crate::kernels::arithmetic::mean;
use crate::kernels::linear::LinearCache;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::ops::{AttentionOptions, attend, cached_linear, linear};
use crate::scope::{self, Path};
use crate::signal::{Outcome, Recording, Signal, add_operands, add_results, product};
use crate::{Error, Result};

use super::impl_fmt;
use super::linear::Linear;
use super::weight::Weight;

pub use config::MultiheadAttentionConfig;
use config::Settings;
use masks::Masks;

/// Computes attention with several heads of `embed_dim / num_heads` features each.
///
/// - Config: `MultiheadAttention::config(embed_dim, num_heads)`; setters `dropout` (0), `bias` (true), `add_bias_kv`
///   (false), `add_zero_attn` (false), `kdim` (`embed_dim`), `vdim` (`embed_dim`), `batch_first` (false), `is_causal`
///   (false), `need_weights` (true), `average_attn_weights` (true); in PyTorch, the last three are arguments of the
///   call
/// - Input: `attn(query, key, value)` or `attn(query, key, value, key_padding_mask, attn_mask)` in a forward closure;
///   either mask may be `None`
/// - Output: `(output, weights)`; the weights are averaged over the heads, unless `average_attn_weights` is false
/// - Fails if `num_heads` does not divide `embed_dim`, if `dropout` is not between 0 and 1, if a shape does not match
///   the table, or if the dtype of a mask is neither u8 nor floating point
///
/// | tensor | shape |
/// |---|---|
/// | query, output | `[queries, batch, embed_dim]` |
/// | key, value | `[keys, batch, kdim]`, `[keys, batch, vdim]` |
/// | `key_padding_mask` | `[batch, keys]` |
/// | `attn_mask` | `[queries, keys]` or `[batch · num_heads, queries, keys]` |
/// | weights | `[batch, queries, keys]`, or `[batch, num_heads, queries, keys]` for each head |
///
/// With `batch_first`, the inputs and the output are `[batch, length, …]`. The batch dimension may be omitted from all
/// tensors. After [`inference`](crate::Network::inference), self-attention keeps a second copy of its weights, in the
/// kernel's order. The nonzero elements of a u8 mask hide keys; a floating-point mask is added to the scores. If all
/// keys are hidden from a query, the output for this query is the bias of the output projection.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| {
///     let h = norm(x);
///     let (h, _) = attn(h, h, h);
///     x + h
/// })]
/// struct Block {
///     #[layer(16)]
///     norm: BatchNorm,
///     #[layer(16, 4, batch_first = true, is_causal = true, need_weights = false)]
///     attn: MultiheadAttention,
/// }
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 16, 16), DType::F32, &Device::Cpu)?;
/// assert_eq!(Block::new(&Device::Cpu)?.forward(x)?.dims(), [2, 16, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MultiheadAttention {
    settings: Settings,
    in_proj: Projection,
    in_proj_bias: Option<Tensor>,
    /// The learned key and value that are appended to the projected keys and values, `[1, 1, embed_dim]` each.
    bias_kv: Option<[Tensor; 2]>,
    out_proj: OutProjection,
    /// The mode to which the layer is pinned.
    pinned: Option<Mode>,
}

/// The weights that project the inputs to queries, keys and values of `embed_dim` features.
#[derive(Clone)]
enum Projection {
    /// The three weights concatenated, `[3 · embed_dim, embed_dim]`.
    Packed(Weight<LinearCache>),
    /// Three weights, `[embed_dim, embed_dim]`, `[embed_dim, kdim]` and `[embed_dim, vdim]`.
    Separate([Weight<LinearCache>; 3]),
}

/// The names of the weights of [`Projection::Separate`].
const SEPARATE_WEIGHT_NAMES: [&str; 3] = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];

/// The names of the learned key and value.
const BIAS_KV_NAMES: [&str; 2] = ["bias_k", "bias_v"];

/// A linear layer that is displayed with the class name of PyTorch's output projection.
#[derive(Clone)]
struct OutProjection(Linear);

/// Computes `x · weightᵀ + bias`.
fn project(x: Tensor, weight: &Weight<LinearCache>, bias: Option<&Tensor>) -> Signal {
    cached_linear(x, weight.tensor(), bias, weight.cache())
}

/// Returns the weights of a layer that returns none.
fn no_weights() -> Signal {
    Signal::fail(Error::msg("no attention weights: need_weights is false"))
}

/// The output and the attention weights.
type OutputAndWeights = (Signal, Signal);

impl MultiheadAttention {
    /// Creates the config with PyTorch's defaults.
    pub fn config(embed_dim: usize, num_heads: usize) -> MultiheadAttentionConfig {
        MultiheadAttentionConfig::new(embed_dim, num_heads)
    }

    /// Runs the layer in evaluation mode without masks. Returns the output, and the attention weights if `need_weights`
    /// is set.
    ///
    /// # Errors
    /// Fails if the inputs are invalid, as described above.
    pub fn forward(
        &self,
        query: impl Into<Signal>,
        key: impl Into<Signal>,
        value: impl Into<Signal>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.run([query.into(), key.into(), value.into()], [None, None], Mode::Eval)
    }

    fn call_with_masks(
        &self,
        inputs: [Signal; 3],
        masks: [Option<Signal>; 2],
        mode: Mode,
    ) -> OutputAndWeights {
        let recording =
            Recording::start_optional(inputs.iter().map(Some).chain(masks.iter().map(Option::as_ref)));
        let keys = [1, 2].map(|i| inputs[i].dims().unwrap_or_default().to_vec());
        let results = self.run_signals(inputs, masks, mode);
        recording.end(&[&results.0, &results.1], self.describe(mode), |query, _| self.products(query, &keys));
        results
    }

    /// Describes attention without dropout.
    fn describe(&self, mode: Mode) -> Description<'_> {
        let Settings {
            num_heads, add_zero_attn, batch_first, is_causal, average_attn_weights, dropout, ..
        } = self.settings;
        let weights = match &self.in_proj {
            Projection::Packed(weight) => [Some(weight), None, None],
            Projection::Separate(weights) => weights.each_ref().map(Some),
        };
        let biases = self.bias_kv.as_ref().map(|[key, value]| [key, value]);
        let others = [
            self.in_proj_bias.as_ref(),
            biases.map(|[key, _]| key),
            biases.map(|[_, value]| value),
            Some(self.out_proj.0.weight()),
            self.out_proj.0.bias(),
        ];
        let op = Op::MultiheadAttention(AttentionOp {
            heads: num_heads,
            adds_zeros: add_zero_attn,
            batch_first,
            is_causal,
            averages_weights: average_attn_weights,
        });
        let drops = self.pinned.unwrap_or(mode) == Mode::Train && dropout > 0.;
        let parameters = weights.into_iter().map(|weight| weight.map(Weight::tensor)).chain(others).collect();
        Description { name: "multi_head_attention", op: (!drops).then_some(op), parameters }
    }

    /// Returns the multiply-adds of the projections of query, key, value and output, and of the attention, for a query
    /// and for `[key, value]` of these sizes.
    fn products(&self, query: &[usize], keys: &[Vec<usize>; 2]) -> u64 {
        let width = self.settings.embed_dim;
        let length = |dims: &[usize]| {
            let dim = if dims.len() == 3 && self.settings.batch_first { 1 } else { 0 };
            dims.get(dim).copied().unwrap_or_default()
        };
        let attended = length(&keys[0]).saturating_add(self.settings.extra_keys());
        let projections = [query, query, &keys[0], &keys[1]].map(|dims| product(dims.iter().chain([&width])));
        let attention = product(query).saturating_mul(product([&attended])).saturating_mul(2);
        projections.into_iter().fold(attention, u64::saturating_add)
    }

    fn run_signals(&self, inputs: [Signal; 3], masks: [Option<Signal>; 2], mode: Mode) -> OutputAndWeights {
        let mut signals = inputs.iter().chain(masks.iter().flatten());
        if let Some(error) = signals.clone().find_map(Signal::error) {
            return OutputAndWeights::failed(error.clone());
        }
        if signals.any(Signal::is_meta) {
            return match self.run_meta(&inputs, &masks) {
                Ok(output_and_weights) => output_and_weights,
                Err(error) => OutputAndWeights::failed(error.in_layer(self.settings.label())),
            };
        }
        match self.run(inputs, masks, mode) {
            Ok((output, Some(weights))) => (output.into(), weights.into()),
            Ok((output, None)) => (output.into(), no_weights()),
            Err(error) => OutputAndWeights::failed(error),
        }
    }

    fn run(
        &self,
        [query, key, value]: [Signal; 3],
        [padding, mask]: [Option<Signal>; 2],
        mode: Mode,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mode = self.pinned.unwrap_or(mode);
        let inputs = [query.into_tensor()?, key.into_tensor()?, value.into_tensor()?];
        let padding = padding.map(Signal::into_tensor).transpose()?;
        let mask = mask.map(Signal::into_tensor).transpose()?;
        let device = inputs[0].device().clone();
        let _launch = scope::begin_launch(&device, Path::current, || "multi_head_attention".to_string());
        let masks = Masks { padding, attention: mask, is_causal: self.settings.is_causal };
        self.run_tensors(&inputs, masks, mode).map_err(|error| error.in_layer(self.settings.label()))
    }

    fn run_tensors(
        &self,
        inputs: &[Tensor; 3],
        masks: Masks,
        mode: Mode,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.settings.check_inputs(inputs.each_ref().map(Tensor::dims))?;
        let batched = inputs[0].rank() == 3;
        let [query, key, value] = self.append_extra_keys(self.project(inputs)?)?;
        let (batch, queries, ..) = query.dims4()?;
        let extra_keys = self.settings.extra_keys();
        let keys = key.dim(1)? - extra_keys;
        let mask = masks.combine(&self.settings, batch, [queries, keys], extra_keys, &query)?;
        let options = AttentionOptions::from(mask.map(Signal::from));
        let options = options.dropout_p(self.settings.dropout, mode);
        // The projections are launches of their own.
        add_operands([&query, &key, &value]);
        let [query, key, value] = [query, key, value].map(|x| x.transpose(1, 2));
        let (output, weights) = attend(&query?, &key?, &value?, &options)?;
        add_results([&output]);
        let output = output.transpose(1, 2)?.reshape((batch, queries, self.settings.embed_dim))?;
        let output = self.out_proj.0.forward_pass(output.into(), mode).into_tensor()?;
        let weights = match (self.settings.need_weights, self.settings.average_attn_weights) {
            (false, _) => None,
            (true, true) => Some(mean(&weights, 1)?),
            (true, false) => Some(weights),
        };
        let output = match (batched, self.settings.batch_first) {
            (true, true) => output,
            (true, false) => output.transpose(0, 1)?,
            (false, _) => return Ok((output.squeeze(0)?, weights.map(|w| w.squeeze(0)).transpose()?)),
        };
        Ok((output, weights))
    }

    /// Projects the inputs to queries, keys and values, `[batch, length, heads, features]` each.
    fn project(&self, inputs: &[Tensor; 3]) -> Result<[Tensor; 3]> {
        let width = self.settings.embed_dim;
        let [heads, features] = self.settings.head_dims();
        let is_self_attention = inputs.iter().all(|input| input.id() == inputs[0].id());
        if let (Projection::Packed(weight), true) = (&self.in_proj, is_self_attention) {
            let x = self.batch_first(&inputs[0])?;
            let all = project(x, weight, self.in_proj_bias.as_ref()).into_tensor()?;
            let (batch, length, _) = all.dims3()?;
            let all = all.reshape((batch, length, 3, heads, features))?;
            let part = |i: usize| all.narrow(2, i, 1)?.squeeze(2);
            return Ok([part(0)?, part(1)?, part(2)?]);
        }
        let projected = |i: usize| -> Result<Tensor> {
            let part = |tensor: &Tensor| tensor.narrow(0, i * width, width);
            let bias = self.in_proj_bias.as_ref().map(part).transpose()?;
            let x = self.batch_first(&inputs[i])?;
            let all = match &self.in_proj {
                Projection::Packed(weight) => linear(x, part(weight.tensor())?, bias),
                Projection::Separate(weights) => project(x, &weights[i], bias.as_ref()),
            };
            let all = all.into_tensor()?;
            let (batch, length, _) = all.dims3()?;
            Ok(all.reshape((batch, length, heads, features))?)
        };
        Ok([projected(0)?, projected(1)?, projected(2)?])
    }

    /// Converts an input to `[batch, length, features]`.
    fn batch_first(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match (x.rank(), self.settings.batch_first) {
            (2, _) => x.unsqueeze(0)?,
            (_, true) => x.clone(),
            (_, false) => x.transpose(0, 1)?.contiguous()?,
        })
    }

    /// Appends the learned key and value, and the key and value of zeros, if the settings enable them.
    fn append_extra_keys(&self, [query, key, value]: [Tensor; 3]) -> Result<[Tensor; 3]> {
        let batch = key.dim(0)?;
        let [heads, features] = self.settings.head_dims();
        let shape = (batch, 1, heads, features);
        let mut keys = vec![key];
        let mut values = vec![value];
        if let Some(bias) = &self.bias_kv {
            let broadcast = |bias: &Tensor| bias.reshape((1, 1, heads, features))?.broadcast_as(shape);
            keys.push(broadcast(&bias[0])?);
            values.push(broadcast(&bias[1])?);
        }
        if self.settings.add_zero_attn {
            let zeros = Tensor::zeros(shape, keys[0].dtype(), keys[0].device())?;
            keys.push(zeros.clone());
            values.push(zeros);
        }
        Ok([query, Tensor::cat(&keys, 1)?, Tensor::cat(&values, 1)?])
    }
}

impl Forward<(Signal, Signal, Signal)> for MultiheadAttention {
    type Output = OutputAndWeights;

    fn forward_pass(&self, (query, key, value): (Signal, Signal, Signal), mode: Mode) -> OutputAndWeights {
        self.call_with_masks([query, key, value], [None, None], mode)
    }
}

impl Forward<(Signal, Signal, Signal, Option<Signal>, Option<Signal>)> for MultiheadAttention {
    type Output = OutputAndWeights;

    fn forward_pass(
        &self,
        (query, key, value, padding, mask): (Signal, Signal, Signal, Option<Signal>, Option<Signal>),
        mode: Mode,
    ) -> OutputAndWeights {
        self.call_with_masks([query, key, value], [padding, mask], mode)
    }
}

impl Module for MultiheadAttention {
    fn kind(&self) -> Cow<'static, str> {
        "MultiheadAttention".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        match &self.in_proj {
            Projection::Packed(weight) => visitor.parameter("in_proj_weight", weight.tensor()),
            Projection::Separate(weights) => {
                SEPARATE_WEIGHT_NAMES
                    .iter()
                    .zip(weights)
                    .for_each(|(name, weight)| visitor.parameter(name, weight.tensor()));
            }
        }
        if let Some(bias) = &self.in_proj_bias {
            visitor.parameter("in_proj_bias", bias);
        }
        if let Some(bias) = &self.bias_kv {
            BIAS_KV_NAMES.iter().zip(bias).for_each(|(name, bias)| visitor.parameter(name, bias));
        }
        visitor.child("out_proj", &self.out_proj);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        match &mut self.in_proj {
            Projection::Packed(weight) => {
                weight.visit_mut("in_proj_weight", visitor);
            }
            Projection::Separate(weights) => {
                for (name, weight) in SEPARATE_WEIGHT_NAMES.iter().zip(weights) {
                    weight.visit_mut(name, visitor);
                }
            }
        }
        if let Some(bias) = &mut self.in_proj_bias {
            visitor.parameter("in_proj_bias", bias);
        }
        if let Some(bias) = &mut self.bias_kv {
            BIAS_KV_NAMES.iter().zip(bias).for_each(|(name, bias)| visitor.parameter(name, bias));
        }
        visitor.child("out_proj", &mut self.out_proj);
        visitor.pinned_mode(&mut self.pinned);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl Module for OutProjection {
    fn kind(&self) -> Cow<'static, str> {
        "NonDynamicallyQuantizableLinear".into()
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
        self.clone()
    }
}

impl_fmt!(MultiheadAttention);
