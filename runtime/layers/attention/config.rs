//! The config of multi-head attention.

use candle_nn::{Init, VarBuilder};

use crate::config::Config;
use crate::init::{symmetric_uniform, xavier_normal, xavier_uniform};
use crate::layers::linear::Linear;
use crate::layers::weight::Weight;
use crate::{Error, Result};

use super::{BIAS_KV_NAMES, MultiheadAttention, OutProjection, Projection, SEPARATE_WEIGHT_NAMES};

/// The config of [`MultiheadAttention`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let attn = MultiheadAttention::config(16, 4).batch_first(true).need_weights(false).init(&Device::Cpu)?;
/// let x = Tensor::ones((2, 5, 16), DType::F32, &Device::Cpu)?; // [batch, positions, features]
/// assert_eq!(attn.forward(&x, &x, &x)?.0.dims(), [2, 5, 16]);
/// // 16 features cannot be divided among 3 heads.
/// assert!(MultiheadAttention::config(16, 3).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MultiheadAttentionConfig {
    settings: Settings,
    bias: bool,
}

/// The settings that the layer stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub embed_dim: usize,
    pub num_heads: usize,
    pub kdim: usize,
    pub vdim: usize,
    pub dropout: f64,
    pub add_bias_kv: bool,
    pub add_zero_attn: bool,
    pub batch_first: bool,
    pub is_causal: bool,
    pub need_weights: bool,
    pub average_attn_weights: bool,
}

impl MultiheadAttentionConfig {
    pub(super) fn new(embed_dim: usize, num_heads: usize) -> Self {
        let settings = Settings {
            embed_dim,
            num_heads,
            kdim: embed_dim,
            vdim: embed_dim,
            dropout: 0.,
            add_bias_kv: false,
            add_zero_attn: false,
            batch_first: false,
            is_causal: false,
            need_weights: true,
            average_attn_weights: true,
        };
        Self { settings, bias: true }
    }

    /// Sets the probability with which attention weights are dropped in training.
    pub fn dropout(mut self, p: f64) -> Self {
        self.settings.dropout = p;
        self
    }

    /// Sets whether the projections of the inputs and of the output have biases. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets whether to append a learned key and a learned value to the projected keys and values. Default: `false`.
    pub fn add_bias_kv(mut self, add: bool) -> Self {
        self.settings.add_bias_kv = add;
        self
    }

    /// Sets whether to append a key and a value of zeros to the projected keys and values. Default: `false`.
    pub fn add_zero_attn(mut self, add: bool) -> Self {
        self.settings.add_zero_attn = add;
        self
    }

    /// Sets the number of features of the keys. `None` means `embed_dim`.
    pub fn kdim(mut self, features: impl Into<Option<usize>>) -> Self {
        self.settings.kdim = features.into().unwrap_or(self.settings.embed_dim);
        self
    }

    /// Sets the number of features of the values. `None` means `embed_dim`.
    pub fn vdim(mut self, features: impl Into<Option<usize>>) -> Self {
        self.settings.vdim = features.into().unwrap_or(self.settings.embed_dim);
        self
    }

    /// Sets whether the layout is `[batch, length, features]` instead of `[length, batch, features]`. Default: `false`.
    pub fn batch_first(mut self, first: bool) -> Self {
        self.settings.batch_first = first;
        self
    }

    /// Sets whether to hide the keys at later positions from each query. Default: `false`.
    pub fn is_causal(mut self, causal: bool) -> Self {
        self.settings.is_causal = causal;
        self
    }

    /// Sets whether to return the attention weights. If `false`, the second output is a failed signal. Default: `true`.
    pub fn need_weights(mut self, need: bool) -> Self {
        self.settings.need_weights = need;
        self
    }

    /// Sets whether to average the returned attention weights over the heads. Default: `true`.
    pub fn average_attn_weights(mut self, average: bool) -> Self {
        self.settings.average_attn_weights = average;
        self
    }

    fn projection(&self, vb: &VarBuilder) -> Result<Projection> {
        let Settings { embed_dim, kdim, vdim, .. } = self.settings;
        let weight = |name: &str, shape: [usize; 2]| {
            let tensor = vb.get_with_hints(&shape[..], name, xavier_uniform().for_shape(&shape))?;
            Ok::<_, Error>(Weight::new(tensor))
        };
        if kdim == embed_dim && vdim == embed_dim {
            return Ok(Projection::Packed(weight(
                "in_proj_weight",
                [embed_dim.saturating_mul(3), embed_dim],
            )?));
        }
        let [q, k, v] = SEPARATE_WEIGHT_NAMES;
        let q = weight(q, [embed_dim; 2])?;
        let k = weight(k, [embed_dim, kdim])?;
        Ok(Projection::Separate([q, k, weight(v, [embed_dim, vdim])?]))
    }

    fn out_projection(&self, vb: VarBuilder) -> Result<Linear> {
        let width = self.settings.embed_dim;
        let init = symmetric_uniform(1. / (width as f64).sqrt());
        let weight = vb.get_with_hints((width, width), "weight", init)?;
        let bias = if self.bias { Some(vb.get_with_hints(width, "bias", Init::Const(0.))?) } else { None };
        Ok(Linear::from_parts(weight, bias))
    }
}

impl Config for MultiheadAttentionConfig {
    type Output = MultiheadAttention;

    fn build(self, vb: VarBuilder) -> Result<MultiheadAttention> {
        let settings = self.settings;
        settings.check_arguments().map_err(|error| error.in_layer(settings.label()))?;
        let in_proj = self.projection(&vb)?;
        let in_proj_bias = if self.bias {
            let width = settings.embed_dim.saturating_mul(3);
            Some(vb.get_with_hints(width, "in_proj_bias", Init::Const(0.))?)
        } else {
            None
        };
        let shape = [1, 1, settings.embed_dim];
        let bias = |name: &str| vb.get_with_hints(&shape[..], name, xavier_normal().for_shape(&shape));
        let bias_kv = if settings.add_bias_kv {
            Some([bias(BIAS_KV_NAMES[0])?, bias(BIAS_KV_NAMES[1])?])
        } else {
            None
        };
        let out_proj = OutProjection(self.out_projection(vb.pp("out_proj"))?);
        Ok(MultiheadAttention { settings, in_proj, in_proj_bias, bias_kv, out_proj, pinned: None })
    }
}

impl Settings {
    pub(super) fn label(&self) -> String {
        format!("MultiheadAttention {}, {} heads", self.embed_dim, self.num_heads)
    }

    /// Returns the number of heads and the number of features of each.
    pub(super) fn head_dims(&self) -> [usize; 2] {
        [self.num_heads, self.embed_dim / self.num_heads]
    }

    /// Returns the number of keys that the layer appends.
    pub(super) fn extra_keys(&self) -> usize {
        usize::from(self.add_bias_kv) + usize::from(self.add_zero_attn)
    }

    fn check_arguments(&self) -> Result<()> {
        let Self { embed_dim, num_heads, dropout, .. } = *self;
        if embed_dim == 0 || num_heads == 0 || embed_dim % num_heads != 0 {
            return Err(Error::msg(format!(
                "expected an embed_dim divisible by num_heads, found embed_dim = {embed_dim} and \
                 num_heads = {num_heads}"
            )));
        }
        if !(0. ..=1.).contains(&dropout) {
            return Err(Error::msg(format!("expected a dropout between 0 and 1, found {dropout}")));
        }
        Ok(())
    }

    /// Checks the shapes of query, key and value.
    pub(super) fn check_inputs(&self, [query, key, value]: [&[usize]; 3]) -> Result<()> {
        let features = [self.embed_dim, self.kdim, self.vdim];
        let fits = match (query, key, value) {
            ([_, q], [keys, k], [values, v]) => [*q, *k, *v] == features && keys == values,
            ([q0, q1, q], [k0, k1, k], [v0, v1, v]) => {
                let (batch_sizes, lengths) =
                    if self.batch_first { ([q0, k0, v0], [k1, v1]) } else { ([q1, k1, v1], [k0, v0]) };
                let equal_batches = batch_sizes.iter().all(|size| *size == batch_sizes[0]);
                [*q, *k, *v] == features && equal_batches && lengths[0] == lengths[1]
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let [embed_dim, kdim, vdim] = features;
        let order = if self.batch_first { "batch, length" } else { "length, batch" };
        Err(Error::msg(format!(
            "expected a query [{order}, {embed_dim}], a key [{order}, {kdim}] and a value [{order}, {vdim}] \
             with equal batch sizes, or all without the batch dimension, found {query:?}, {key:?} and {value:?}"
        )))
    }
}
