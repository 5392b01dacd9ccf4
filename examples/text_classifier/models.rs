//! Classifiers of sentences. Each maps tokens `[batch, longest]` and the number of tokens of each sentence `[batch]` to
//! logits `[batch, 2]`. `longest` is the length of the longest sentence of the batch. The argument `tokens` of each
//! classifier is the number of tokens in the vocabulary.

use sconce::prelude::*;

use crate::reviews::PADDING;

/// Adds up a learned pair of logits for each word, so the order of the words has no effect.
#[derive(Module)]
#[module(args(tokens: usize), forward = |ids, _lengths| words(ids).sum(1))]
pub struct BagOfWords {
    #[layer(tokens, 2, padding_idx = 0)]
    words: Embedding,
}

/// An LSTM that reads a sentence from left to right. Its output at the last word is classified.
#[derive(Module)]
#[module(args(tokens: usize, width: usize = 64), forward = |ids, lengths| {
    let (outputs, _) = lstm(words(ids));
    head(last(outputs, lengths))
})]
pub struct Recurrent {
    #[layer(tokens, width)]
    words: Embedding,
    #[layer(width, width, batch_first = true)]
    lstm: LSTM,
    #[layer(width, 2)]
    head: Linear,
}

/// Selects the output at the last word of each sentence: maps `[batch, longest, width]` to `[batch, width]`. The LSTM
/// reads the padding after this word, so the padding does not affect the output.
fn last(outputs: Signal, lengths: Signal) -> Signal {
    outputs.map(|outputs| -> Result<Tensor> {
        let (batch, _, width) = outputs.dims3()?;
        let lengths = lengths.into_tensor()?;
        let last = (&lengths - lengths.ones_like()?)?.reshape((batch, 1, 1))?;
        let index = last.broadcast_as((batch, 1, width))?.contiguous()?;
        Ok(outputs.gather(&index, 1)?.squeeze(1)?)
    })
}

/// A transformer in which each position attends to all tokens of its sentence. The output at the start token is
/// classified.
#[derive(Module)]
#[module(
    args(tokens: usize, positions: usize, width: usize = 64, heads: usize = 4, depth: usize = 2),
    forward = |ids, _lengths| {
        let padding = ids.map(|ids| ids.eq(PADDING));
        let numbers = Tensor::arange(0u32, ids.dim(1)? as u32, &ids.device()?)?;
        let mut x = words(ids) + position(numbers);
        for block in blocks {
            x = block(x, padding);
        }
        head(norm(x.narrow(1, 0, 1).squeeze(1)))
    },
)]
pub struct Transformer {
    #[layer(tokens, width)]
    words: Embedding,
    #[layer(positions, width)]
    position: Embedding,
    #[layer(width, heads; for _ in 0..depth)]
    blocks: Vec<Block>,
    #[layer(width)]
    norm: LayerNorm,
    #[layer(width, 2)]
    head: Linear,
}

/// Attention and two linear layers, each after a layer norm and with a residual connection.
#[derive(Module)]
#[module(args(width: usize, heads: usize), forward = |x, padding| {
    let h = norm1(x);
    let (h, _) = attention(h, h, h, Some(padding), None);
    let x = x + h;
    x + down(gelu(up(norm2(x))))
})]
struct Block {
    #[layer(width)]
    norm1: LayerNorm,
    #[layer(width, heads, batch_first = true, need_weights = false)]
    attention: MultiheadAttention,
    #[layer(width)]
    norm2: LayerNorm,
    #[layer(width, 4 * width)]
    up: Linear,
    #[layer(4 * width, width)]
    down: Linear,
}
