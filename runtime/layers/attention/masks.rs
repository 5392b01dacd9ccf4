//! The masks of multi-head attention, combined into one mask that is added to the scores.

use candle_core::{DType, Tensor};

use crate::ops::{boolean_mask, causal_mask};
use crate::{Error, Result};

use super::Settings;

/// The masks that hide keys from queries.
pub(super) struct Masks {
    /// `[batch, keys]`, or `[keys]` without the batch dimension.
    pub padding: Option<Tensor>,
    /// `[queries, keys]`, or `[batch · heads, queries, keys]`.
    pub attention: Option<Tensor>,
    pub is_causal: bool,
}

/// Checks the shapes of a key padding mask and of an attention mask.
pub(super) fn check_shapes(
    [padding, attention]: [Option<&[usize]>; 2],
    heads: usize,
    batch: usize,
    [queries, keys]: [usize; 2],
) -> Result<()> {
    if let Some(found) = padding.filter(|dims| *dims != [batch, keys] && !(batch == 1 && *dims == [keys])) {
        return Err(Error::msg(format!("expected a key_padding_mask [{batch}, {keys}], found {found:?}")));
    }
    let all_heads = batch * heads;
    let fits = |dims: &[usize]| dims == [queries, keys] || dims == [all_heads, queries, keys];
    match attention.filter(|dims| !fits(dims)) {
        Some(found) => Err(Error::msg(format!(
            "expected an attn_mask [{queries}, {keys}] or [{all_heads}, {queries}, {keys}], found {found:?}"
        ))),
        None => Ok(()),
    }
}

impl Masks {
    /// Returns the sum of the masks, or `None` if there are none.
    ///
    /// The sum broadcasts to `[batch, heads, queries, keys + extra_keys]` and has the dtype of `like`. The last
    /// `extra_keys` keys are visible to all queries.
    pub(super) fn combine(
        &self,
        settings: &Settings,
        batch: usize,
        [queries, keys]: [usize; 2],
        extra_keys: usize,
        like: &Tensor,
    ) -> Result<Option<Tensor>> {
        let dtype = like.dtype();
        let heads = settings.num_heads;
        let shapes = [&self.padding, &self.attention].map(|mask| mask.as_ref().map(Tensor::dims));
        check_shapes(shapes, heads, batch, [queries, keys])?;
        let mut masks = Vec::new();
        if let Some(padding) = &self.padding {
            masks.push(to_additive("key_padding_mask", padding, dtype)?.reshape((batch, 1, 1, keys))?);
        }
        if let Some(mask) = &self.attention {
            let additive = to_additive("attn_mask", mask, dtype)?;
            let leading = if mask.rank() == 2 { (1, 1) } else { (batch, heads) };
            masks.push(additive.reshape((leading.0, leading.1, queries, keys))?);
        }
        if self.is_causal {
            masks
                .push(causal_mask([queries, keys], 0, dtype, like.device())?.reshape((1, 1, queries, keys))?);
        }
        let sum = masks
            .into_iter()
            .map(candle_core::Result::Ok)
            .reduce(|a, b| a?.broadcast_add(&b?))
            .transpose()?;
        Ok(sum.map(|mask| mask.pad_with_zeros(3, 0, extra_keys)).transpose()?)
    }
}

/// Converts a boolean or floating-point mask to a mask of `dtype` that is added to the scores.
fn to_additive(name: &str, mask: &Tensor, dtype: DType) -> Result<Tensor> {
    match mask.dtype() {
        DType::U8 => Ok(boolean_mask(mask, dtype)?),
        float if float.is_float() => Ok(mask.to_dtype(dtype)?),
        other => Err(Error::msg(format!("expected {name} of u8 or floats, found {other:?}"))),
    }
}
