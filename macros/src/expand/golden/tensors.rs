use sconce::prelude::*;

/// A network with parameters, buffers, ties, modes and other names in checkpoints.
#[derive(Module)]
#[module(args(width: usize, stage: usize = 1), forward = |x| {
    let x = (norm(encoder(x)) - mean) * scale;
    decoder(x) + bias
})]
pub struct Tensors {
    #[param(width, init = ones)]
    scale: Tensor,
    #[param((1, width))]
    #[module(rename = "offset")]
    bias: Tensor,
    #[buffer((width,), init = constant(0.5))]
    mean: Tensor,
    #[layer(width, width, bias = false)]
    #[module(rename = "stage{stage}.encoder")]
    encoder: Linear,
    #[layer(width)]
    #[module(rename = "", mode = eval)]
    norm: LayerNorm,
    #[layer(width, width, bias = false)]
    #[module(tie = "stage1.encoder.weight")]
    decoder: Linear,
    #[module(skip = stage)]
    stage: usize,
}
