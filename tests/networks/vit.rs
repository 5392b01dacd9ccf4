//! Compares a small vision transformer with candle's operations.

use sconce::prelude::*;

use crate::networks::vit::{VisionTransformer, vit_b_16};
use crate::reference::{Weights, assert_agrees, attention, gelu, join_heads, split_heads};

const HEADS: usize = 4;
const DEPTH: usize = 2;

fn reference(w: &Weights, x: &Tensor) -> Result<Tensor> {
    let bias = w.get("conv_proj.bias").reshape((1, (), 1, 1))?;
    let x = x.conv2d(&w.get("conv_proj.weight"), 0, 8, 1, 1)?.broadcast_add(&bias)?;
    let x = x.flatten_from(2)?.transpose(1, 2)?;
    let class = w.get("class_token").repeat((x.dim(0)?, 1, 1))?;
    let mut x = Tensor::cat(&[class, x], 1)?.broadcast_add(&w.get("encoder.pos_embedding"))?;
    for i in 0..DEPTH {
        let name = |part: &str| format!("encoder.layers.encoder_layer_{i}.{part}");
        let h = w.layer_norm(&name("ln_1"), &x, 1e-6)?;
        let qkv = h.broadcast_matmul(&w.get(&name("self_attention.in_proj_weight")).t()?)?;
        let qkv = qkv.broadcast_add(&w.get(&name("self_attention.in_proj_bias")))?.chunk(3, 2)?;
        let [q, k, v] = [0, 1, 2].map(|i| split_heads(&qkv[i], HEADS));
        let h = w.linear(&name("self_attention.out_proj"), &join_heads(&attention(&q?, &k?, &v?, None)?)?)?;
        x = (x + h)?;
        let h = w.layer_norm(&name("ln_2"), &x, 1e-6)?;
        let h = gelu(&w.linear(&name("mlp.0"), &h)?)?;
        x = (x + w.linear(&name("mlp.3"), &h)?)?;
    }
    let x = w.layer_norm("encoder.ln", &x, 1e-6)?.narrow(1, 0, 1)?.squeeze(1)?;
    w.linear("heads.head", &x)
}

#[test]
fn a_small_network_agrees_with_candle() -> Result<()> {
    let network = VisionTransformer::config(32, 8, DEPTH, HEADS, 32, 64).classes(10).init(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (2, 3, 32, 32), &Device::Cpu)?;
    assert_agrees(network, &x, true, |network, x| network.forward(x), reference)
}

#[test]
fn names_and_sizes_agree_with_the_published_checkpoint() -> Result<()> {
    let network = vit_b_16().build(sconce::nn::VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    assert_eq!(network.num_parameters(), 86_567_656); // from torchvision's documentation
    let names: Vec<String> = network.named_parameters().into_iter().map(|(name, _)| name).collect();
    let first = ["class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"];
    assert_eq!(names[..4], first);
    let layer = [
        "ln_1.weight",
        "ln_1.bias",
        "self_attention.in_proj_weight",
        "self_attention.in_proj_bias",
        "self_attention.out_proj.weight",
        "self_attention.out_proj.bias",
        "ln_2.weight",
        "ln_2.bias",
        "mlp.0.weight",
        "mlp.0.bias",
        "mlp.3.weight",
        "mlp.3.bias",
    ];
    assert_eq!(names[16..28], layer.map(|part| format!("encoder.layers.encoder_layer_1.{part}")));
    assert_eq!(
        names[names.len() - 4..],
        ["encoder.ln.weight", "encoder.ln.bias", "heads.head.weight", "heads.head.bias"]
    );
    Ok(())
}
