//! The vision transformer (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>), with the parameter names of
//! torchvision's checkpoints.

use sconce::prelude::*;

/// Two linear layers with GELU and dropout.
#[derive(Module)]
#[module(args(width: usize, hidden: usize, p: f64))]
pub struct Mlp(
    #[layer(width, hidden)] Linear,
    Gelu,
    #[layer(p)] Dropout,
    #[layer(hidden, width)] Linear,
    #[layer(p)] Dropout,
);

/// Self-attention and MLP, each after a layer norm and with a residual connection.
#[derive(Module)]
#[module(args(width: usize, heads: usize, hidden: usize, p: f64), forward = |x| {
    let h = ln_1(x);
    let (h, _) = self_attention(h, h, h);
    let x = dropout(h) + x;
    mlp(ln_2(x)) + x
})]
pub struct EncoderBlock {
    #[layer(width, eps = 1e-6)]
    ln_1: LayerNorm,
    #[layer(width, heads, batch_first = true, need_weights = false)]
    self_attention: MultiheadAttention,
    #[layer(p)]
    dropout: Dropout,
    #[layer(width, eps = 1e-6)]
    ln_2: LayerNorm,
    #[layer(width, hidden, p)]
    mlp: Mlp,
}

/// The position embedding, the encoder blocks and a layer norm.
#[derive(Module)]
#[module(
    args(positions: usize, depth: usize, width: usize, heads: usize, hidden: usize, p: f64),
    forward = |x| ln(layers(dropout(x + pos_embedding))),
)]
pub struct Encoder {
    #[param((1, positions, width), init = normal(0., 0.02))]
    pos_embedding: Tensor,
    #[layer(p)]
    dropout: Dropout,
    #[layer(width, heads, hidden, p; for _ in 0..depth)]
    #[module(rename = "layers.encoder_layer_{0..}")]
    layers: Vec<EncoderBlock>,
    #[layer(width, eps = 1e-6)]
    ln: LayerNorm,
}

/// Maps images `[batch, 3, image_size, image_size]` to logits `[batch, classes]`.
#[derive(Module)]
#[module(
    args(image_size: usize, patch_size: usize, depth: usize, heads: usize, width: usize, hidden: usize,
        classes: usize = 1000, dropout: f64 = 0.),
    forward = |x| {
        let patches = conv_proj(x).flatten(2, 3).transpose(1, 2);
        let class = Signal::from(class_token.repeat((patches.dim(0)?, 1, 1)));
        head(encoder(cat([class, patches], 1)).narrow(1, 0, 1).squeeze(1))
    },
)]
pub struct VisionTransformer {
    #[param((1, 1, width), init = zeros)]
    class_token: Tensor,
    #[layer(3, width, patch_size, stride = patch_size)]
    conv_proj: Conv2d,
    #[layer((image_size / patch_size).pow(2) + 1, depth, width, heads, hidden, dropout)]
    encoder: Encoder,
    #[layer(width, classes)]
    #[module(rename = "heads.head")]
    head: Linear,
}

/// Returns the config of ViT-B/16 for images of 224×224 and 1000 classes.
pub fn vit_b_16() -> VisionTransformerConfig {
    VisionTransformer::config(224, 16, 12, 12, 768, 3072)
}

/// Returns the config of ViT-S/16, which has half the width of ViT-B/16.
pub fn vit_s_16() -> VisionTransformerConfig {
    VisionTransformer::config(224, 16, 12, 6, 384, 1536)
}
