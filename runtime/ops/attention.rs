//! Scaled dot-product attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>).

use candle_core::{D, DType, Device, Shape, Tensor};

use crate::graph::{Description, Op};
use crate::kernels::arithmetic::{Binary, Unary, binary, unary};
use crate::kernels::internal::can_allocate;
use crate::kernels::matmul::matmul;
use crate::kernels::softmax::{masked_softmax, softmax};
use crate::module::Mode;
use crate::signal::{Meta, NeedsNumbers, Recording, Signal, add_multiply_adds, add_operands, product};
use crate::{Error, Result};

use super::dropout;

/// The options of [`scaled_dot_product_attention`]: PyTorch's `attn_mask`, `dropout_p`, `is_causal` and `scale`.
/// A mask or `None` converts into `AttentionOptions`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 3, 8), DType::F32, &Device::Cpu)?; // [batch, positions, features]
/// let values = Tensor::new(&[[[1f32], [2.], [6.]]], &Device::Cpu)?;
/// // All scores are equal, so each query averages the values that it attends to.
/// let causal = AttentionOptions::default().is_causal(true);
/// let y = scaled_dot_product_attention(&x, &x, &values, causal).into_tensor()?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 1.5, 3.]);
/// // A mask and `is_causal` exclude each other.
/// let mask = Tensor::ones((3, 3), DType::U8, &Device::Cpu)?;
/// let both = AttentionOptions::default().mask(mask).is_causal(true);
/// assert!(scaled_dot_product_attention(&x, &x, &values, both).error().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    mask: Option<Signal>,
    dropout: Option<(f64, Mode)>,
    is_causal: bool,
    query_offset: usize,
    scale: Option<f64>,
}

impl AttentionOptions {
    /// Sets the mask. Its shape must broadcast to the shape of the scores, `[…, queries, keys]`. A float mask is added
    /// to the scores. With a `u8` mask, a query attends to the keys for which the mask is not zero.
    pub fn mask(mut self, mask: impl Into<Signal>) -> Self {
        self.mask = Some(mask.into());
        self
    }

    /// Sets the probability with which attention weights are dropped in training. Default: 0.
    pub fn dropout_p(mut self, p: f64, mode: Mode) -> Self {
        self.dropout = Some((p, mode));
        self
    }

    /// Sets whether each query attends only to keys up to its own position. Cannot be combined with a mask. Default:
    /// `false`.
    pub fn is_causal(mut self, causal: bool) -> Self {
        self.is_causal = causal;
        self
    }

    /// Sets the position of the first query among the keys, for `is_causal`. If the keys come from a
    /// [`KvCache`](super::KvCache), this is the number of positions before the new ones. Default: 0.
    pub fn query_offset(mut self, offset: usize) -> Self {
        self.query_offset = offset;
        self
    }

    /// Sets the factor by which the scores are multiplied. The default is `1 / √features`.
    pub fn scale(mut self, scale: impl Into<Option<f64>>) -> Self {
        self.scale = scale.into();
        self
    }
}

impl From<Option<Signal>> for AttentionOptions {
    fn from(mask: Option<Signal>) -> Self {
        Self { mask, ..Self::default() }
    }
}

macro_rules! from_mask {
    ($($mask:ty)*) => {$(
        impl From<$mask> for AttentionOptions {
            fn from(mask: $mask) -> Self {
                Self::default().mask(mask)
            }
        }
    )*};
}

from_mask! { Signal &Signal Tensor &Tensor }

/// Computes `softmax(query · keyᵀ · scale + mask) · value`, with the softmax over the keys.
///
/// The shapes are `[…, queries, features]` for `query`, `[…, keys, features]` for `key` and
/// `[…, keys, value_features]` for `value`. Leading dimensions are broadcast. The output is
/// `[…, queries, value_features]`. `options` is `None`, a mask, or an [`AttentionOptions`]. As in PyTorch, the
/// output is zero for a query whose keys are all masked.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 4, 5, 8), DType::F32, &Device::Cpu)?; // [batch, heads, positions, features]
/// let causal = AttentionOptions::default().is_causal(true);
/// let y = scaled_dot_product_attention(&x, &x, &x, causal).into_tensor()?;
/// assert_eq!(y.dims(), [2, 4, 5, 8]);
/// # Ok(())
/// # }
/// ```
pub fn scaled_dot_product_attention(
    query: impl Into<Signal>,
    key: impl Into<Signal>,
    value: impl Into<Signal>,
    options: impl Into<AttentionOptions>,
) -> Signal {
    let (query, key, value, options) = (query.into(), key.into(), value.into(), options.into());
    let recording =
        Recording::start_optional([Some(&query), Some(&key), Some(&value), options.mask.as_ref()]);
    let description = options.describe(&query);
    let keys = key.dim(-2).unwrap_or_default();
    let output = run(query, key, value, &options);
    recording.finish_products(output, description, |query, output| attention_products(query, output, keys))
}

/// Returns the number of products of queries and keys and of weights and values, which are added up. The sizes are
/// those of the query and of the output.
fn attention_products(query: &[usize], output: &[usize], keys: usize) -> u64 {
    let Some((value_features, rows)) = output.split_last() else { return 0 };
    let scores = product(rows.iter().chain([&keys]));
    scores.saturating_mul(product(query.last()).saturating_add(product([value_features])))
}

fn run(query: Signal, key: Signal, value: Signal, options: &AttentionOptions) -> Signal {
    if [&query, &key, &value].into_iter().chain(&options.mask).any(Signal::is_meta) {
        return attention_meta([&query, &key, &value], options).into();
    }
    let (key, value) = match (key.into_tensor(), value.into_tensor()) {
        (Ok(key), Ok(value)) => (key, value),
        (Err(error), _) | (_, Err(error)) => return Signal::fail(error),
    };
    query.apply("scaled_dot_product_attention", NeedsNumbers, |query| -> Result<Tensor> {
        add_operands([
            Some(&key),
            Some(&value),
            options.mask.as_ref().map(Signal::tensor).transpose()?.as_ref(),
        ]);
        Ok(attend(&query, &key, &value, options)?.0)
    })
}

/// Returns the output of attention on signals without numbers: its shape.
fn attention_meta(inputs: [&Signal; 3], options: &AttentionOptions) -> Result<Signal> {
    let [query, key, value] = inputs.map(Signal::to_meta);
    let (query, key, value) = (query?, key?, value?);
    let AttentionSizes { batch, queries, keys, .. } =
        AttentionSizes::new(query.shape.dims(), key.shape.dims(), value.shape.dims())?;
    let scores = [&batch[..], &[queries, keys]].concat();
    if let Some(mask) = &options.mask {
        check_mask(mask.shape()?, &scores)?;
    }
    // One query, key and value without features check the dtypes and the options.
    let [query_probe, key_probe, value_probe] = [&query, &key, &value].map(|meta| meta.empty((1, 0)));
    let probe_options = options.for_one_score()?;
    let (probe, _) = attend(&query_probe?, &key_probe?, &value_probe?, &probe_options)?;
    let features = value.shape.dims()[value.shape.rank() - 1];
    Ok(Meta::like(&probe, [&batch[..], &[queries, features]].concat()).into())
}

/// Checks that a mask can be broadcast to the scores.
fn check_mask(mask: &Shape, scores: &[usize]) -> Result<()> {
    match mask.broadcast_shape_binary_op(&Shape::from(scores), "attention") {
        Ok(shape) if shape.dims() == scores => Ok(()),
        _ => {
            let found = mask.dims();
            Err(Error::msg(format!("expected a mask that broadcasts to {scores:?}, found {found:?}")))
        }
    }
}

/// Computes [`scaled_dot_product_attention`]. Returns the output, and the attention weights `[…, queries, keys]`.
pub(crate) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: &AttentionOptions,
) -> Result<(Tensor, Tensor)> {
    let AttentionSizes { batch, queries, keys, features } =
        AttentionSizes::new(query.dims(), key.dims(), value.dims())?;
    let shape = |rows: usize, columns: usize| [&batch[..], &[rows, columns]].concat();
    let scale = options.scale.unwrap_or_else(|| default_scale(features));
    let query = unary(Unary::Affine { factor: scale, offset: 0. }, query)?;
    let scores = expand(matmul(&query, &key.transpose(D::Minus1, D::Minus2)?)?, &shape(queries, keys))?;
    let weights = match options.additive_mask(&scores, [queries, keys])? {
        Some(mask) => masked_softmax(&binary(Binary::Add, &scores, &mask)?, D::Minus1)?,
        None => softmax(&scores, D::Minus1)?,
    };
    let weights = match options.dropout {
        Some((p, mode)) => dropout(weights, p, mode).into_tensor()?,
        None => weights,
    };
    let output = matmul(&weights, value)?;
    add_multiply_adds(|| attention_products(query.dims(), output.dims(), keys));
    Ok((output, weights))
}

/// The sizes of query, key and value.
struct AttentionSizes {
    /// The broadcast leading dimensions.
    batch: Vec<usize>,
    queries: usize,
    keys: usize,
    features: usize,
}

impl AttentionSizes {
    fn new(query: &[usize], key: &[usize], value: &[usize]) -> Result<Self> {
        let mismatch = || {
            Error::msg(format!(
                "expected a query […, queries, features], a key […, keys, features] and a value \
                 […, keys, value_features], found {query:?}, {key:?} and {value:?}"
            ))
        };
        let (
            [query_batch @ .., queries, features],
            [key_batch @ .., keys, key_features],
            [value_batch @ .., values, _],
        ) = (query, key, value)
        else {
            return Err(mismatch());
        };
        if features != key_features || keys != values {
            return Err(mismatch());
        }
        let batch = Shape::from(query_batch).broadcast_shape_binary_op(&Shape::from(key_batch), "attention");
        let batch =
            batch.and_then(|batch| batch.broadcast_shape_binary_op(&Shape::from(value_batch), "attention"));
        let batch = batch.map_err(|_| mismatch())?.into_dims();
        Ok(Self { batch, queries: *queries, keys: *keys, features: *features })
    }
}

/// Broadcasts `x` to the shape `dims`, if it has a different shape.
fn default_scale(features: usize) -> f64 {
    1. / (features.max(1) as f64).sqrt()
}

fn expand(x: Tensor, dims: &[usize]) -> candle_core::Result<Tensor> {
    if x.dims() == dims { Ok(x) } else { x.broadcast_as(dims)?.contiguous() }
}

impl AttentionOptions {
    /// Describes attention without dropout.
    fn describe(&self, query: &Signal) -> Description<'static> {
        let scale = self.scale.unwrap_or_else(|| default_scale(query.dim(-1).unwrap_or_default()));
        let op = Op::Attention { scale, causal_offset: self.is_causal.then_some(self.query_offset) };
        let drops = matches!(self.dropout, Some((p, Mode::Train)) if p > 0.);
        Description { op: (!drops).then_some(op), ..Description::from("scaled_dot_product_attention") }
    }

    /// Returns the options for a single score. Draws no random numbers.
    fn for_one_score(&self) -> Result<Self> {
        let mask = match &self.mask {
            Some(mask) => Some(Tensor::zeros((1, 1), mask.dtype()?, &mask.device()?)?.into()),
            None => None,
        };
        match self.dropout {
            Some((p, Mode::Train)) if !(0. ..=1.).contains(&p) => {
                Err(Error::msg(format!("expected a probability between 0 and 1, found {p}")))
            }
            _ => Ok(Self { mask, dropout: None, ..self.clone() }),
        }
    }

    /// Returns the mask to add to the scores. Its shape broadcasts to the shape of the scores.
    fn additive_mask(&self, scores: &Tensor, [queries, keys]: [usize; 2]) -> Result<Option<Tensor>> {
        let dtype = scores.dtype();
        let device = scores.device();
        let Some(mask) = &self.mask else {
            // A query at the last position or after it sees all keys.
            let hides_keys = self.is_causal && self.query_offset.saturating_add(1) < keys;
            let mask = || causal_mask([queries, keys], self.query_offset, dtype, device);
            return Ok(hides_keys.then(mask).transpose()?);
        };
        if self.is_causal {
            return Err(Error::msg("expected either a mask or is_causal, found both"));
        }
        let mask = mask.tensor()?;
        check_mask(mask.shape(), scores.dims())?;
        Ok(Some(match mask.dtype() {
            DType::U8 => boolean_mask(&mask.eq(0u8)?, dtype)?,
            float if float.is_float() => mask.to_dtype(dtype)?,
            other => {
                return Err(Error::msg(format!("expected a mask of u8 or floats, found {other:?}")));
            }
        }))
    }
}

/// Returns a mask that is −∞ at the elements where `hidden` is not zero, and 0 elsewhere.
pub(crate) fn boolean_mask(hidden: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
    let constant =
        |value: f64| Tensor::full(value, (), hidden.device())?.to_dtype(dtype)?.broadcast_as(hidden.shape());
    hidden.where_cond(&constant(f64::NEG_INFINITY)?, &constant(0.)?)
}

/// Returns a mask `[queries, keys]` that is −∞ if the key comes after the query, and 0 otherwise. The first query has
/// the position `offset`.
pub(crate) fn causal_mask(
    [queries, keys]: [usize; 2],
    offset: usize,
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    if !can_allocate::<f64>(&[queries, keys]) {
        candle_core::bail!("not enough memory for a mask of {queries} queries and {keys} keys")
    }
    let is_hidden = move |query: usize, key: usize| key.checked_sub(offset).is_some_and(|key| key > query);
    let hidden = (0..queries).flat_map(|query| (0..keys).map(move |key| u8::from(is_hidden(query, key))));
    let hidden = Tensor::from_vec(hidden.collect::<Vec<_>>(), (queries, keys), device)?;
    boolean_mask(&hidden, dtype)
}
