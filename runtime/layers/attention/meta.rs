//! Multi-head attention on signals without numbers.

use crate::Result;
use crate::module::Mode;
use crate::signal::{Meta, Signal};

use super::masks::{Masks, check_shapes};
use super::{MultiheadAttention, OutputAndWeights, no_weights};

impl MultiheadAttention {
    /// Returns meta signals for the output and for the weights. Runs the layer on an empty batch to find their shapes.
    pub(super) fn run_meta(
        &self,
        inputs: &[Signal; 3],
        masks: &[Option<Signal>; 2],
    ) -> Result<OutputAndWeights> {
        let [query, key, value] = inputs.each_ref().map(Signal::to_meta);
        let metas = [query?, key?, value?];
        let [query, key, value] = metas.each_ref().map(|meta| meta.shape.dims());
        self.settings.check_inputs([query, key, value])?;
        let has_batch = query.len() == 3;
        let batch_dim = if self.settings.batch_first { 0 } else { 1 };
        let length_dim = if has_batch { 1 - batch_dim } else { 0 };
        let batch = if has_batch { query[batch_dim] } else { 1 };

        let [padding, attention] = masks;
        let dims =
            |mask: &Option<Signal>| mask.as_ref().map(|mask| mask.dims().map(<[usize]>::to_vec)).transpose();
        let (padding, attention) = (dims(padding)?, dims(attention)?);
        let lengths = [query[length_dim], key[length_dim]];
        check_shapes([padding.as_deref(), attention.as_deref()], self.settings.num_heads, batch, lengths)?;

        let empty = |meta: &Meta| {
            let mut dims = meta.shape.dims().to_vec();
            if !has_batch {
                dims.insert(batch_dim, 0);
            }
            dims[batch_dim] = 0;
            meta.empty(dims)
        };
        let [query, key, value] = metas.each_ref().map(empty);
        // The causal mask does not change the shapes.
        let masks = Masks { padding: None, attention: None, is_causal: false };
        let (output, weights) = self.run_tensors(&[query?, key?, value?], masks, Mode::Eval)?;
        let batch = has_batch.then_some(batch);
        let weights = weights.map(|weights| Meta::resized(&weights, 0, batch).into());
        Ok((Meta::resized(&output, batch_dim, batch).into(), weights.unwrap_or_else(no_weights)))
    }
}
