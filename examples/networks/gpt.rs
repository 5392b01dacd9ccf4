//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), with the parameter names of
//! Hugging Face's checkpoints.

use sconce::prelude::*;

/// A linear layer, `x · weight + bias`. Unlike in `Linear`, the weight has the shape `[in_features, out_features]`.
#[derive(Module)]
#[module(args(in_features: usize, out_features: usize), forward = |x| x.matmul(weight) + bias)]
pub struct Conv1D {
    #[param((in_features, out_features), init = normal(0., 0.02))]
    weight: Tensor,
    #[param(out_features)]
    bias: Tensor,
}

/// Causal self-attention with one projection for queries, keys and values.
#[derive(Module)]
#[module(args(width: usize, heads: usize), forward = |x| {
    let (batch, positions, width) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
    let split = |x: Signal| x.reshape((batch, positions, heads, width / heads)).transpose(1, 2);
    let [query, key, value] = [0, 1, 2].map(|i| split(c_attn(x).narrow(2, i * width, width)));
    let y = scaled_dot_product_attention(query, key, value, AttentionOptions::default().is_causal(true));
    c_proj(y.transpose(1, 2).reshape((batch, positions, width)))
})]
pub struct Attention {
    #[layer(width, 3 * width)]
    c_attn: Conv1D,
    #[layer(width, width)]
    c_proj: Conv1D,
    #[module(skip = heads)]
    heads: usize,
}

/// Two linear layers with GELU between them.
#[derive(Module)]
#[module(args(width: usize), forward = |x| c_proj(gelu_tanh(c_fc(x))))]
pub struct Mlp {
    #[layer(width, 4 * width)]
    c_fc: Conv1D,
    #[layer(4 * width, width)]
    c_proj: Conv1D,
}

/// Attention and MLP, each after a layer norm and with a residual connection.
#[derive(Module)]
#[module(args(width: usize, heads: usize), forward = |x| {
    let x = attn(ln_1(x)) + x;
    mlp(ln_2(x)) + x
})]
pub struct Block {
    #[layer(width)]
    ln_1: LayerNorm,
    #[layer(width, heads)]
    attn: Attention,
    #[layer(width)]
    ln_2: LayerNorm,
    #[layer(width)]
    mlp: Mlp,
}

/// Maps token ids `[batch, positions]` to features `[batch, positions, width]`.
#[derive(Module)]
#[module(args(vocabulary: usize, positions: usize, width: usize, heads: usize, depth: usize), forward = |ids| {
    let positions = Tensor::arange(0u32, ids.dim(1)? as u32, &ids.device()?)?;
    ln_f(h(wte(ids) + wpe(positions)))
})]
pub struct Transformer {
    #[layer(vocabulary, width)]
    wte: Embedding,
    #[layer(positions, width)]
    wpe: Embedding,
    #[layer(width, heads; for _ in 0..depth)]
    h: Vec<Block>,
    #[layer(width)]
    ln_f: LayerNorm,
}

/// Maps token ids `[batch, positions]` to logits of the next token, `[batch, positions, vocabulary]`.
#[derive(Module)]
#[module(
    args(vocabulary: usize = 50257, positions: usize = 1024, width: usize = 768, heads: usize = 12, depth: usize = 12),
    forward = |ids| lm_head(transformer(ids)),
)]
pub struct Gpt {
    #[layer(vocabulary, positions, width, heads, depth)]
    transformer: Transformer,
    #[layer(width, vocabulary, bias = false)]
    #[module(tie = "transformer.wte.weight")]
    lm_head: Linear,
}

/// Returns the config of the smallest GPT-2, with 124 million parameters.
pub fn gpt2() -> GptConfig {
    Gpt::config()
}

/// Appends `count` tokens to `ids` by greedy decoding: each new token is the most likely continuation of the tokens so
/// far.
pub fn greedy(network: &Gpt, ids: &[u32], count: usize) -> Result<Vec<u32>> {
    let mut ids = ids.to_vec();
    for _ in 0..count {
        let logits = network.forward(Tensor::new(&ids[..], &Device::Cpu)?.unsqueeze(0)?)?;
        let last = logits.narrow(1, ids.len() - 1, 1)?.flatten_all()?;
        ids.push(last.argmax(0)?.to_scalar()?);
    }
    Ok(ids)
}
