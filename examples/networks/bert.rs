//! BERT (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>), with the parameter names of Hugging Face's
//! checkpoints.

use sconce::prelude::*;

/// The sums of the embeddings of tokens, positions and token types.
#[derive(Module)]
#[module(
    args(vocabulary: usize, positions: usize, width: usize, p: f64),
    forward = |ids, token_types: Option<Signal>| {
        let positions = Tensor::arange(0u32, ids.dim(1)? as u32, &ids.device()?)?;
        let token_types = token_types.unwrap_or(positions.zeros_like()?.into());
        dropout(norm(word_embeddings(ids) + token_type_embeddings(token_types) + position_embeddings(positions)))
    },
)]
pub struct Embeddings {
    #[layer(vocabulary, width, padding_idx = 0)]
    word_embeddings: Embedding,
    #[layer(positions, width)]
    position_embeddings: Embedding,
    #[layer(2, width)]
    token_type_embeddings: Embedding,
    #[layer(width, eps = 1e-12)]
    #[module(rename = "LayerNorm")]
    norm: LayerNorm,
    #[layer(p)]
    dropout: Dropout,
}

/// Self-attention, then two linear layers. The output of each of these two parts is added to its input, then
/// normalized.
#[derive(Module)]
#[module(args(width: usize, heads: usize, hidden: usize, p: f64), forward = |x, mask: Option<Signal>| {
    let split = |x: Signal| unflatten(x, 2, [heads as isize, -1]).transpose(1, 2);
    let options = AttentionOptions::from(mask).dropout_p(p, mode);
    let h = scaled_dot_product_attention(split(query(x)), split(key(x)), split(value(x)), options);
    let x = attention_norm(dropout(attention_output(h.transpose(1, 2).flatten(2, 3))) + x);
    norm(dropout(output(gelu(intermediate(x)))) + x)
})]
pub struct Layer {
    #[layer(width, width)]
    #[module(rename = "attention.self.query")]
    query: Linear,
    #[layer(width, width)]
    #[module(rename = "attention.self.key")]
    key: Linear,
    #[layer(width, width)]
    #[module(rename = "attention.self.value")]
    value: Linear,
    #[layer(width, width)]
    #[module(rename = "attention.output.dense")]
    attention_output: Linear,
    #[layer(width, eps = 1e-12)]
    #[module(rename = "attention.output.LayerNorm")]
    attention_norm: LayerNorm,
    #[layer(width, hidden)]
    #[module(rename = "intermediate.dense")]
    intermediate: Linear,
    #[layer(hidden, width)]
    #[module(rename = "output.dense")]
    output: Linear,
    #[layer(width, eps = 1e-12)]
    #[module(rename = "output.LayerNorm")]
    norm: LayerNorm,
    #[layer(p)]
    dropout: Dropout,
    // Fields that are no layers, with their values.
    #[module(skip = heads)]
    heads: usize,
    #[module(skip = p)]
    p: f64,
}

/// Maps token ids `[batch, positions]` to features `[batch, positions, width]`, and to features of the whole sequence
/// `[batch, width]`. The token types (by default 0) and the mask have the shape of the ids. The mask is 0 for padding,
/// and has the type `u8`.
#[derive(Module)]
#[module(
    args(vocabulary: usize = 30522, positions: usize = 512, width: usize = 768, heads: usize = 12, depth: usize = 12,
        hidden: usize = 4 * width, dropout: f64 = 0.1),
    forward = |ids, token_types: Option<Signal>, mask: Option<Signal>| {
        let mask = mask.map(|mask| mask.unsqueeze(1).unsqueeze(1));
        let mut x = embeddings(ids, token_types);
        for layer in layers {
            x = layer(x, mask);
        }
        (x, tanh(pooler(x.select(1, 0))))
    },
)]
pub struct Bert {
    #[layer(vocabulary, positions, width, dropout)]
    embeddings: Embeddings,
    #[layer(width, heads, hidden, dropout; for _ in 0..depth)]
    #[module(rename = "encoder.layer")]
    layers: Vec<Layer>,
    #[layer(width, width)]
    #[module(rename = "pooler.dense")]
    pooler: Linear,
}

/// Returns the config of BERT-base for lowercase English text.
pub fn bert_base_uncased() -> BertConfig {
    Bert::config()
}
