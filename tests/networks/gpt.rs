//! Compares a small GPT-2 with candle's operations, and trains it on a text.

use sconce::prelude::*;

use crate::networks::gpt::{GptConfig, gpt2, greedy};
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
    let generated = greedy(&network, &prompt, 20)?;
    assert_eq!(generated.len(), 24);
    assert_eq!(generated, greedy(&network, &prompt, 20)?);
    assert_eq!(generated, greedy(&network.inference()?, &prompt, 20)?);
    Ok(())
}
