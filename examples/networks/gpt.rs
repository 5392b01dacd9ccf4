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

/// Causal self-attention with one projection for queries, keys and values. With a cache, `x` continues the cached
/// positions.
#[derive(Module)]
#[module(args(width: usize, heads: usize), forward = |x, cache: Option<&mut KvCache>| {
    let (batch, positions, width) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
    let split = |x: Signal| x.reshape((batch, positions, heads, width / heads)).transpose(1, 2);
    let [query, key, value] = [0, 1, 2].map(|i| split(c_attn(x).narrow(2, i * width, width)));
    let (key, value, options) = extend(cache, key, value);
    let y = scaled_dot_product_attention(query, key, value, options);
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

/// Appends keys and values to the cache, if there is one. Returns those of all positions, and the options of causal
/// attention for the new positions.
fn extend(cache: Option<&mut KvCache>, key: Signal, value: Signal) -> (Signal, Signal, AttentionOptions) {
    let causal = AttentionOptions::default().is_causal(true);
    let Some(cache) = cache else { return (key, value, causal) };
    let options = causal.query_offset(cache.len());
    let (key, value) = cache.append(key, value);
    (key, value, options)
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
#[module(args(width: usize, heads: usize), forward = |x, cache: Option<&mut KvCache>| {
    let x = attn(ln_1(x), cache) + x;
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

/// Maps token ids `[batch, positions]` to features `[batch, positions, width]`. `caches` has a cache for each block, or
/// is empty.
#[derive(Module)]
#[module(
    args(vocabulary: usize, positions: usize, width: usize, heads: usize, depth: usize),
    forward = |ids, caches: &mut [KvCache]| {
        if !caches.is_empty() && caches.len() != h.len() {
            return Err(Error::msg(format!("expected {} caches, one for each block, found {}", h.len(), caches.len())));
        }
        let start = caches.first().map_or(0, |cache| cache.len());
        let positions = Tensor::arange(start as u32, (start + ids.dim(1)?) as u32, &ids.device()?)?;
        let mut caches = caches.iter_mut();
        let mut x = wte(ids) + wpe(positions);
        for block in h {
            x = block(x, caches.next());
        }
        ln_f(x)
    },
)]
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
    forward = |ids| lm_head(transformer(ids, &mut [][..])),
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

/// How [`generate`] selects a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampling {
    /// The logits are divided by the temperature. At 0, the most likely token is selected.
    pub temperature: f64,
    /// The number of the most likely tokens to select from. `None` means all.
    pub top_k: Option<usize>,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// Appends `count` tokens to each prompt of `prompts`, `[batch, positions]` of u32. Returns
/// `[batch, positions + count]`.
///
/// # Errors
/// Fails if the prompts are empty, if the prompts and the new tokens exceed the context of the network, if the
/// temperature is negative or NaN, or if `top_k` is 0.
pub fn generate(network: &Gpt, prompts: &Tensor, count: usize, sampling: Sampling) -> Result<Tensor> {
    let (_, length) = prompts.dims2()?;
    let context = network.transformer.wpe.weight().dim(0)?;
    if length == 0 || length.saturating_add(count) > context {
        return Err(Error::msg(format!(
            "expected prompts of 1 to {} tokens, to which {count} can be added in a context of {context}, found \
             {length}",
            context.saturating_sub(count)
        )));
    }
    let mut sampler = Sampler::new(sampling)?;
    let mut decoder = Decoder::new(network);
    let mut ids = vec![prompts.clone()];
    for _ in 0..count {
        let logits = decoder.next_logits(ids.last().unwrap_or(prompts))?;
        ids.push(sampler.select(&logits)?.to_device(prompts.device())?);
    }
    Ok(Tensor::cat(&ids, 1)?)
}

/// A network that continues sequences, with the keys and values of the tokens so far.
pub struct Decoder {
    network: Gpt,
    caches: Vec<KvCache>,
}

impl Decoder {
    /// Creates a decoder that has read no tokens.
    pub fn new(network: &Gpt) -> Self {
        // A cache stores no gradients.
        Self { network: network.detached(), caches: vec![KvCache::new(); network.transformer.h.len()] }
    }

    /// Reads more tokens, `[batch, positions]`. Returns the logits of the next token, `[batch, vocabulary]`.
    pub fn next_logits(&mut self, ids: &Tensor) -> Result<Tensor> {
        let x = self.network.transformer.forward(ids, &mut self.caches[..])?;
        let last = x.narrow(1, x.dim(1)? - 1, 1)?.squeeze(1)?;
        self.network.lm_head.forward(last)
    }
}

/// Selects tokens by their logits.
struct Sampler {
    sampling: Sampling,
    /// The state of the generator SplitMix64.
    state: u64,
}

impl Sampler {
    fn new(sampling: Sampling) -> Result<Self> {
        let Sampling { temperature, top_k, seed } = sampling;
        if temperature.is_nan() || temperature < 0. || top_k == Some(0) {
            return Err(Error::msg(format!(
                "expected a temperature of at least 0 and a top_k of at least 1, found {temperature} and {top_k:?}"
            )));
        }
        Ok(Self { sampling, state: seed })
    }

    /// Returns a token for each row of `logits`, `[batch, vocabulary]`, as `[batch, 1]`.
    fn select(&mut self, logits: &Tensor) -> Result<Tensor> {
        if self.sampling.temperature == 0. {
            return Ok(logits.argmax_keepdim(1)?);
        }
        let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let ids: Vec<u32> = rows.iter().map(|row| self.sample(row)).collect();
        Ok(Tensor::from_vec(ids, (rows.len(), 1), &Device::Cpu)?)
    }

    fn sample(&mut self, logits: &[f32]) -> u32 {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        ids.truncate(self.sampling.top_k.unwrap_or(ids.len()));
        let logit = |id: u32| f64::from(logits[id as usize]) / self.sampling.temperature;
        let weights: Vec<f64> = ids.iter().map(|id| (logit(*id) - logit(ids[0])).exp()).collect();
        let mut rest = self.uniform() * weights.iter().sum::<f64>();
        let selected = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.
        });
        ids[selected.unwrap_or(0)]
    }

    /// Returns a random number between 0 and 1.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
