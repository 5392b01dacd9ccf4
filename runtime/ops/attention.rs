//! Scaled dot-product attention: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>.

use candle_core::{D, DType, Device, Shape, Tensor};

use super::dropout;
use crate::kernels::softmax::{masked_softmax, softmax};
use crate::module::Mode;
use crate::signal::Signal;
use crate::{Error, Result};

/// What [`scaled_dot_product_attention`] can be told beyond its three inputs: PyTorch's `attn_mask`,
/// `dropout_p`, `is_causal` and `scale`. A mask alone, or `None`, converts into it.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    mask: Option<Signal>,
    dropout: Option<(f64, Mode)>,
    is_causal: bool,
    scale: Option<f64>,
}

impl AttentionOptions {
    /// Of a shape that broadcasts to the scores' `[…, queries, keys]`. Of `u8`, a key takes part where it
    /// is not zero; of floats, it is added to the scores.
    pub fn mask(mut self, mask: impl Into<Signal>) -> Self {
        self.mask = Some(mask.into());
        self
    }

    /// Drops weights with this probability, in training.
    pub fn dropout_p(mut self, p: f64, mode: Mode) -> Self {
        self.dropout = Some((p, mode));
        self
    }

    /// Each query sees the keys up to its own place, and no mask is given.
    pub fn is_causal(mut self, causal: bool) -> Self {
        self.is_causal = causal;
        self
    }

    /// What the scores are multiplied by instead of `1 / √features`.
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

/// `softmax(query · keyᵀ · scale + mask) · value` over the keys.
///
/// `query` is `[…, queries, features]`, `key` `[…, keys, features]`, `value` `[…, keys, value_features]`,
/// with leading dimensions that broadcast; the answer is `[…, queries, value_features]`. `options` is
/// `None`, a mask, or an [`AttentionOptions`]. A query that no key may answer gets zeros, as in PyTorch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 4, 5, 8), DType::F32, &Device::Cpu)?; // [batch, heads, places, features]
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
    let (key, value) = match (key.into().into_tensor(), value.into().into_tensor()) {
        (Ok(key), Ok(value)) => (key, value),
        (Err(error), _) | (_, Err(error)) => return Signal::fail(error),
    };
    query.into().apply("scaled_dot_product_attention", |query| -> Result<Tensor> {
        Ok(attend(&query, &key, &value, &options.into())?.0)
    })
}

/// The answers, and the weights `[…, queries, keys]` that they are sums by.
pub(crate) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: &AttentionOptions,
) -> Result<(Tensor, Tensor)> {
    let Shapes { batch, queries, keys, features } = Shapes::of(query.dims(), key.dims(), value.dims())?;
    let shape = |rows: usize, columns: usize| [&batch[..], &[rows, columns]].concat();
    let scale = options.scale.unwrap_or(1. / (features.max(1) as f64).sqrt());
    let scores = matrices(&(query * scale)?, &batch)?.matmul(&matrices(key, &batch)?.t()?)?;
    let scores = scores.reshape(shape(queries, keys))?;
    let weights = match options.additive_mask(&scores, [queries, keys])? {
        Some(mask) => masked_softmax(&scores.broadcast_add(&mask)?, D::Minus1)?,
        None => softmax(&scores, D::Minus1)?,
    };
    let weights = match options.dropout {
        Some((p, mode)) => dropout(weights, p, mode).into_tensor()?,
        None => weights,
    };
    let output = matrices(&weights, &batch)?.matmul(&matrices(value, &batch)?)?;
    Ok((output.reshape(shape(queries, value.dim(D::Minus1)?))?, weights))
}

/// What the three inputs agree on.
struct Shapes {
    /// The leading dimensions, broadcast.
    batch: Vec<usize>,
    queries: usize,
    keys: usize,
    features: usize,
}

impl Shapes {
    fn of(query: &[usize], key: &[usize], value: &[usize]) -> Result<Self> {
        let wrong = || {
            Error::msg(format!(
                "expected a query […, queries, features], a key […, keys, features] and a value \
                 […, keys, value_features], got {query:?}, {key:?} and {value:?}"
            ))
        };
        let ([a @ .., queries, features], [b @ .., keys, same], [c @ .., values, _]) = (query, key, value)
        else {
            return Err(wrong());
        };
        if features != same || keys != values {
            return Err(wrong());
        }
        let both = Shape::from(a).broadcast_shape_binary_op(&Shape::from(b), "attention");
        let all = both.and_then(|both| both.broadcast_shape_binary_op(&Shape::from(c), "attention"));
        let batch = all.map_err(|_| wrong())?.into_dims();
        Ok(Self { batch, queries: *queries, keys: *keys, features: *features })
    }
}

/// The last two dimensions' matrices, one for each element of the `batch` that the others broadcast to.
fn matrices(x: &Tensor, batch: &[usize]) -> candle_core::Result<Tensor> {
    let (rows, columns) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
    let shape = [batch, &[rows, columns]].concat();
    let x = if x.dims() == shape { x.contiguous()? } else { x.broadcast_as(shape)?.contiguous()? };
    x.reshape((batch.iter().product::<usize>(), rows, columns))
}

impl AttentionOptions {
    /// The mask in the form that is added to the scores, of a shape that broadcasts to theirs.
    fn additive_mask(&self, scores: &Tensor, [queries, keys]: [usize; 2]) -> Result<Option<Tensor>> {
        let (dtype, device) = (scores.dtype(), scores.device());
        let Some(mask) = &self.mask else {
            return match self.is_causal {
                true => Ok(Some(causal_mask(queries, keys, dtype, device)?)),
                false => Ok(None),
            };
        };
        if self.is_causal {
            return Err(Error::msg("expected a mask or is_causal, got both"));
        }
        let mask = mask.tensor()?;
        if mask.broadcast_as(scores.shape()).is_err() {
            let (scores, got) = (scores.dims(), mask.dims());
            return Err(Error::msg(format!("expected a mask that broadcasts to {scores:?}, got {got:?}")));
        }
        Ok(Some(match mask.dtype() {
            DType::U8 => boolean_mask(&mask.eq(0u8)?, dtype)?,
            float if float.is_float() => mask.to_dtype(dtype)?,
            other => {
                return Err(Error::msg(format!("expected a mask of u8 or of floats, got {other:?}")));
            }
        }))
    }
}

/// -∞ where `hidden` is not zero, 0 elsewhere.
pub(crate) fn boolean_mask(hidden: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
    let constant =
        |value: f64| Tensor::full(value, (), hidden.device())?.to_dtype(dtype)?.broadcast_as(hidden.shape());
    hidden.where_cond(&constant(f64::NEG_INFINITY)?, &constant(0.)?)
}

/// `[queries, keys]`, -∞ where the key comes after the query.
pub(crate) fn causal_mask(
    queries: usize,
    keys: usize,
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let hidden = (0..queries).flat_map(|query| (0..keys).map(move |key| u8::from(key > query)));
    let hidden = Tensor::from_vec(hidden.collect::<Vec<_>>(), (queries, keys), device)?;
    boolean_mask(&hidden, dtype)
}
