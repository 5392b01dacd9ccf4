//! Compares a small GPT-2 with candle's operations, and trains it on a text.

use sconce::prelude::*;

use crate::common::{Rng, message};
use crate::networks::gpt::{Decoder, Gpt, GptConfig, Sampling, generate, gpt2};
use crate::reference::{Weights, assert_agrees, attention, gelu_tanh, join_heads, split_heads};

const HEADS: usize = 4;
const DEPTH: usize = 2;
const POSITIONS: usize = 32;

/// Returns a small network for byte sequences.
fn small() -> GptConfig {
    gpt2().vocabulary(256).positions(POSITIONS).width(32).heads(HEADS).depth(DEPTH)
}

/// Computes `x · weight + bias`: the layer that GPT-2 calls `Conv1D`. Its `weight` is `[inputs, outputs]`.
fn conv1d(w: &Weights, name: &str, x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_matmul(&w.get(&format!("{name}.weight")))?;
    Ok(x.broadcast_add(&w.get(&format!("{name}.bias")))?)
}

/// Returns a mask that is -∞ for keys after the query, and 0 for the other keys.
fn causal(positions: usize, dtype: DType) -> Result<Tensor> {
    let mask =
        (0..positions).flat_map(|i| (0..positions).map(move |j| if j > i { f32::NEG_INFINITY } else { 0. }));
    Ok(Tensor::from_vec(mask.collect::<Vec<_>>(), (positions, positions), &Device::Cpu)?.to_dtype(dtype)?)
}

fn reference(w: &Weights, ids: &Tensor) -> Result<Tensor> {
    let (batch, positions) = ids.dims2()?;
    let embeddings = w.get("transformer.wte.weight");
    let x = embeddings.index_select(&ids.flatten_all()?, 0)?.reshape((batch, positions, ()))?;
    let mut x = x.broadcast_add(&w.get("transformer.wpe.weight").narrow(0, 0, positions)?)?;
    let mask = causal(positions, x.dtype())?;
    for i in 0..DEPTH {
        let name = |part: &str| format!("transformer.h.{i}.{part}");
        let qkv = conv1d(w, &name("attn.c_attn"), &w.layer_norm(&name("ln_1"), &x, 1e-5)?)?.chunk(3, 2)?;
        let [q, k, v] = [0, 1, 2].map(|i| split_heads(&qkv[i], HEADS));
        let h = join_heads(&attention(&q?, &k?, &v?, Some(&mask))?)?;
        x = (x + conv1d(w, &name("attn.c_proj"), &h)?)?;
        let h = gelu_tanh(&conv1d(w, &name("mlp.c_fc"), &w.layer_norm(&name("ln_2"), &x, 1e-5)?)?)?;
        x = (x + conv1d(w, &name("mlp.c_proj"), &h)?)?;
    }
    Ok(w.layer_norm("transformer.ln_f", &x, 1e-5)?.broadcast_matmul(&embeddings.t()?)?)
}

#[test]
fn a_small_network_agrees_with_candle() -> Result<()> {
    let ids = Tensor::arange(0u32, 34, &Device::Cpu)?.reshape((2, 17))?;
    assert_agrees(small().init(&Device::Cpu)?, &ids, true, |network, x| network.forward(x), reference)
}

#[test]
fn names_and_sizes_agree_with_the_published_checkpoint() -> Result<()> {
    let network = gpt2().build(sconce::nn::VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    assert_eq!(network.num_parameters(), 124_439_808); // from Hugging Face's gpt2
    let network = small().init(&Device::Cpu)?;
    let names: Vec<String> = network.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..2], ["transformer.wte.weight", "transformer.wpe.weight"]);
    let block = [
        "ln_1.weight",
        "ln_1.bias",
        "attn.c_attn.weight",
        "attn.c_attn.bias",
        "attn.c_proj.weight",
        "attn.c_proj.bias",
        "ln_2.weight",
        "ln_2.bias",
        "mlp.c_fc.weight",
        "mlp.c_fc.bias",
        "mlp.c_proj.weight",
        "mlp.c_proj.bias",
    ];
    assert_eq!(names[14..26], block.map(|part| format!("transformer.h.1.{part}")));
    assert_eq!(names[26..], ["transformer.ln_f.weight", "transformer.ln_f.bias"]);
    Ok(())
}

/// PyTorch saves the tied weight under both names; Hugging Face's `.safetensors` files contain only one of the
/// names.
#[test]
fn checkpoints_load_with_and_without_the_tied_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let network = small().init(&Device::Cpu)?;
    let ids = Tensor::arange(0u32, 8, &Device::Cpu)?.unsqueeze(0)?;
    let y = network.forward(&ids)?.flatten_all()?.to_vec1::<f32>()?;
    let mut state = network.state_dict();
    assert!(state.get("lm_head.weight").is_some());
    for path in ["both.safetensors", "one.safetensors"].map(|name| directory.path().join(name)) {
        sconce::checkpoint::write_safetensors(&path, &state, &Default::default())?;
        let loaded = small().load(&path, &Device::Cpu)?;
        assert_eq!(loaded.forward(&ids)?.flatten_all()?.to_vec1::<f32>()?, y);
        assert_eq!(loaded.parameters().len(), network.parameters().len());
        state.remove("lm_head.weight");
    }
    Ok(())
}

/// Returns the bytes of the license text as `[windows, POSITIONS]`, and the same windows shifted by one byte.
fn text() -> Result<(Tensor, Tensor)> {
    let bytes: Vec<u32> =
        include_bytes!("../../LICENSE-APACHE").iter().map(|byte| u32::from(*byte)).collect();
    let windows = (bytes.len() - 1) / POSITIONS;
    let windows_from = |start: usize| {
        Tensor::from_slice(&bytes[start..start + windows * POSITIONS], (windows, POSITIONS), &Device::Cpu)
    };
    Ok((windows_from(0)?, windows_from(1)?))
}

#[test]
fn a_small_network_learns_a_text_and_generates_deterministically() -> Result<()> {
    sconce::manual_seed(1);
    let network = small().init(&Device::Cpu)?;
    let (inputs, targets) = text()?;
    let mut optimizer = AdamW::new(3e-3).build(network.trainable_parameters())?;
    let mut losses = Vec::new();
    for step in 0..60 {
        let start = step * 16 % (inputs.dim(0)? - 16);
        let logits = network.forward(inputs.narrow(0, start, 16)?)?.reshape((16 * POSITIONS, 256))?;
        let loss = cross_entropy(&logits, &targets.narrow(0, start, 16)?.flatten_all()?)?;
        let grads = loss.backward()?;
        assert_eq!(audit_gradients(&network, &grads), [""; 0]);
        optimizer.step(&grads)?;
        losses.push(loss.to_scalar::<f32>()?);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..5]), mean(&losses[55..]));
    assert!(last < 0.7 * first, "expected a loss below 0.7 · {first}, found {last}");

    let prompt: Vec<u32> = b"the ".iter().map(|byte| u32::from(*byte)).collect();
    let prompt = Tensor::from_vec(prompt, (1, 4), &Device::Cpu)?;
    let greedy = |network: &Gpt| generate(network, &prompt, 20, Sampling::default())?.to_vec2::<u32>();
    let generated = greedy(&network)?;
    assert_eq!(generated[0].len(), 24);
    assert_eq!(generated, greedy(&network)?);
    assert_eq!(generated, greedy(&network.inference()?)?);
    Ok(())
}

/// Returns a network with a context of `positions` whose parameters are large enough that the logits differ clearly.
fn random_network(positions: usize) -> Result<Gpt> {
    let network = small().positions(positions).init(&Device::Cpu)?;
    let mut numbers = Rng::new(7);
    for (_, parameter) in network.trainable_parameters() {
        parameter.set(&numbers.tensor(parameter.dims(), 0.3).to_dtype(DType::F32)?)?;
    }
    Ok(network)
}

/// Returns prompts `[batch, length]` of random tokens.
fn prompts(batch: usize, length: usize) -> Result<Tensor> {
    let mut numbers = Rng::new((batch * length) as u64);
    let ids = (0..batch * length).map(|_| ((numbers.uniform() + 1.) * 128.) as u32).collect::<Vec<_>>();
    Ok(Tensor::from_vec(ids, (batch, length), &Device::Cpu)?)
}

/// Returns the logits of the last position, `[batch, vocabulary]`, without a cache.
fn last_logits(network: &Gpt, ids: &Tensor) -> Result<Tensor> {
    let logits = network.forward(ids)?;
    Ok(logits.narrow(1, logits.dim(1)? - 1, 1)?.squeeze(1)?)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.max_all()?.to_scalar::<f32>()?)
}

#[test]
fn decoding_with_a_cache_agrees_with_whole_passes() -> Result<()> {
    let network = random_network(80)?;
    for (batch, length) in [(1, 1), (1, 9), (2, 5)] {
        let mut ids = prompts(batch, length)?;
        let expected = generate(&network, &ids, 64, Sampling::default())?;
        let mut decoder = Decoder::new(&network);
        let mut new = ids.clone();
        for _ in 0..64 {
            let (cached, whole) = (decoder.next_logits(&new)?, last_logits(&network, &ids)?);
            let difference = largest_difference(&cached, &whole)?;
            assert!(difference < 1e-5 * whole.abs()?.max_all()?.to_scalar::<f32>()?.max(1.), "{difference}");
            new = whole.argmax_keepdim(1)?;
            ids = Tensor::cat(&[&ids, &new], 1)?;
        }
        assert_eq!(ids.to_vec2::<u32>()?, expected.to_vec2::<u32>()?);
        // The continuations are not constant, so a network that ignored its input would fail.
        let row = &ids.to_vec2::<u32>()?[0][length..];
        assert!(row.iter().any(|id| *id != row[0]), "{row:?}");
    }
    Ok(())
}

#[test]
fn sequences_of_a_batch_do_not_affect_each_other() -> Result<()> {
    let network = random_network(80)?;
    let both = prompts(2, 6)?;
    let together = generate(&network, &both, 30, Sampling::default())?.to_vec2::<u32>()?;
    for (row, expected) in together.iter().enumerate() {
        let alone = generate(&network, &both.narrow(0, row, 1)?, 30, Sampling::default())?;
        assert_eq!(&alone.to_vec2::<u32>()?[0], expected);
    }
    Ok(())
}

#[test]
fn sampling_selects_from_the_most_likely_tokens() -> Result<()> {
    let network = random_network(80)?;
    let prompt = prompts(1, 4)?;
    let run = |sampling| generate(&network, &prompt, 40, sampling)?.to_vec2::<u32>();
    let greedy = run(Sampling::default())?;
    let hot = Sampling { temperature: 2., ..Sampling::default() };
    assert_eq!(run(Sampling { top_k: Some(1), ..hot })?, greedy);
    assert_eq!(run(Sampling { temperature: 1e-9, ..hot })?, greedy);
    assert_eq!(run(Sampling { top_k: Some(usize::MAX), ..hot })?, run(hot)?);
    assert_ne!(run(hot)?, greedy);
    assert_eq!(run(hot)?, run(hot)?);
    assert_ne!(run(hot)?, run(Sampling { seed: 1, ..hot })?);

    // Each token is one of the three most likely continuations of the tokens before it.
    let ids = Tensor::new(run(Sampling { top_k: Some(3), ..hot })?, &Device::Cpu)?;
    let mut ranks = [0; 3];
    for position in 4..44 {
        let logits = last_logits(&network, &ids.narrow(1, 0, position)?)?.squeeze(0)?.to_vec1::<f32>()?;
        let selected = ids.get(0)?.get(position)?.to_scalar::<u32>()?;
        ranks[logits.iter().filter(|logit| **logit > logits[selected as usize]).count()] += 1;
    }
    assert!(ranks.iter().all(|count| *count > 0), "{ranks:?}");
    Ok(())
}

/// At each temperature, the frequencies of the most likely tokens agree with the softmax of their logits.
#[test]
fn frequencies_agree_with_the_softmax() -> Result<()> {
    let network = random_network(8)?;
    let prompt = prompts(1, 3)?;
    let logits = last_logits(&network, &prompt)?.squeeze(0)?.to_vec1::<f32>()?;
    let mut sorted = logits.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for temperature in [0.5, 2.] {
        let weight = |logit: f32| {
            let scaled = f64::from(logit - sorted[0]) / temperature;
            if logit >= sorted[7] { scaled.exp() } else { 0. }
        };
        let sum: f64 = logits.iter().map(|logit| weight(*logit)).sum();
        // Independent draws: the rows of a batch of equal prompts.
        let draws = 4000;
        let sampling = Sampling { temperature, top_k: Some(8), seed: 3 };
        let ids = generate(&network, &prompt.repeat((draws, 1))?, 1, sampling)?;
        let mut counts = vec![0.; logits.len()];
        for id in ids.narrow(1, 3, 1)?.flatten_all()?.to_vec1::<u32>()? {
            counts[id as usize] += 1. / draws as f64;
        }
        let differences =
            counts.iter().zip(&logits).map(|(count, logit)| (count - weight(*logit) / sum).abs());
        let distance: f64 = differences.sum();
        assert!(distance < 0.1, "temperature {temperature}: {distance}");
    }
    Ok(())
}

#[test]
fn invalid_arguments_of_generate_are_errors() -> Result<()> {
    let network = random_network(16)?;
    let run = |length: usize, count: usize, sampling| {
        message(prompts(1, length).and_then(|prompts| generate(&network, &prompts, count, sampling)))
    };
    assert_eq!(generate(&network, &prompts(1, 10)?, 6, Sampling::default())?.dims(), [1, 16]);
    let error = run(11, 6, Sampling::default());
    let expected = "expected prompts of 1 to 10 tokens, to which 6 can be added in a context of 16, found 11";
    assert_eq!(error, expected);
    assert!(run(17, 0, Sampling::default()).contains("found 17"));
    assert!(run(3, usize::MAX, Sampling::default()).contains("found 3"));
    assert!(run(0, 1, Sampling::default()).contains("found 0"));
    let error = run(1, 1, Sampling { temperature: -1., ..Sampling::default() });
    assert!(error.contains("found -1 and None"), "{error}");
    assert!(run(1, 1, Sampling { top_k: Some(0), ..Sampling::default() }).contains("found 0 and Some(0)"));
    let unknown = Tensor::new(&[[256u32]], &Device::Cpu)?;
    let error = message(generate(&network, &unknown, 1, Sampling::default()));
    assert!(error.contains("index 256 is out of range for 256 embeddings"), "{error}");
    Ok(())
}
