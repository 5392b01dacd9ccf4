//! Transformer encoders: gradients by finite differences, masks, dropout, invalid arguments, and encoders as fields of
//! a derived network. `tests/golden/sequence.rs` compares them with PyTorch.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, message, restride, values};

const CPU: Device = Device::Cpu;

/// Returns an encoder in f64.
fn encoder(config: TransformerEncoderConfig) -> Result<TransformerEncoder> {
    let mut encoder = config.init(&CPU)?;
    encoder.to_dtype(DType::F64)?;
    Ok(encoder)
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn gradients_agree_with_finite_differences(
        (heads, features, hidden) in (1..3usize, 1..3usize, 1..5usize), (batch, length) in (1..3usize, 1..4usize),
        layers in 1..3usize, [batch_first, norm_first, bias, causal, final_norm] in any::<[bool; 5]>(),
        masked: bool, seed: u64,
    ) {
        let check = || -> Result<()> {
            let width = heads * features;
            let layer = TransformerEncoderLayer::config(width, heads).dim_feedforward(hidden).activation("gelu");
            // With this `eps`, the norms of vectors of almost equal elements are smooth enough for finite differences.
            let layer = layer.layer_norm_eps(0.5).batch_first(batch_first).norm_first(norm_first).bias(bias);
            let norm = final_norm.then(|| LayerNorm::config(width).eps(0.5));
            let encoder = encoder(TransformerEncoder::config(layer.is_causal(causal), layers).norm(norm))?;
            let mut numbers = Rng::new(seed);
            let shape = if batch_first { [batch, length, width] } else { [length, batch, width] };
            let x = numbers.tensor(&shape, 1.);
            let mask = masked.then(|| numbers.tensor(&[length, length], 1.));
            let run = |x: &[Tensor]| {
                let mask = mask.as_ref().map(Signal::from);
                Ok(encoder.call_with((restride(&x[0])?.into(), mask, None), Mode::Eval).into_tensor()?)
            };
            assert_eq!(run(std::slice::from_ref(&x))?.dims(), shape);
            Ok(check_gradients(run, &[x])?)
        };
        check().map_err(fail)?;
    }
}

/// The output at a position does not depend on the positions that a mask hides, for each way to hide them.
#[test]
fn hidden_positions_do_not_change_the_others() -> Result<()> {
    let layer = TransformerEncoderLayer::config(4, 2).dim_feedforward(8).batch_first(true);
    let causal = encoder(TransformerEncoder::config(layer.is_causal(true), 2))?;
    let plain = encoder(TransformerEncoder::config(layer, 2))?;
    let first = Rng::new(3).tensor(&[1, 3, 4], 1.);
    let second = Tensor::cat(&[&first.narrow(1, 0, 2)?, &Rng::new(4).tensor(&[1, 1, 4], 1.)], 1)?;
    let causal_mask = Signal::from(Tensor::new(&[[0u8, 1, 1], [0, 0, 1], [0, 0, 0]], &CPU)?);
    let padding = Signal::from(Tensor::new(&[[0u8, 0, 1]], &CPU)?);
    for (encoder, mask, padding) in [
        (&causal, None, None),
        (&plain, Some(causal_mask), None),
        (&plain, None, Some(padding.clone())),
        (&causal, None, Some(padding)),
    ] {
        let run = |x: &Tensor| {
            encoder
                .call_with((x.into(), mask.clone(), padding.clone()), Mode::Eval)
                .into_tensor()?
                .narrow(1, 0, 2)
        };
        check_close("visible positions", &run(&first)?, &run(&second)?, 1e-14)?;
    }
    let last = |x: &Tensor| plain.forward(x)?.narrow(1, 0, 2);
    assert_ne!(values(&last(&first)?)?, values(&last(&second)?)?, "without masks, all positions are visible");
    Ok(())
}

#[test]
fn dropout_is_random_in_training_only() -> Result<()> {
    let layer = TransformerEncoderLayer::config(8, 2).dim_feedforward(16).init(&CPU)?;
    let x = Tensor::ones((3, 2, 8), DType::F32, &CPU)?;
    assert_eq!(values(&layer.forward(&x)?)?, values(&layer.forward(&x)?)?);
    assert_ne!(values(&layer.forward_t(&x, true)?)?, values(&layer.forward_t(&x, true)?)?);
    let mut pinned = layer.clone();
    pinned.set_mode(Mode::Eval)?;
    assert_eq!(values(&pinned.forward_t(&x, true)?)?, values(&layer.forward(&x)?)?);
    let sure = TransformerEncoderLayer::config(8, 2).dim_feedforward(16).dropout(0.).init(&CPU)?;
    assert_eq!(values(&sure.forward_t(&x, true)?)?, values(&sure.forward(&x)?)?);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x, padding: Option<Signal>| encoder(first(x), None, padding))]
struct Model {
    #[layer(8, 2, dim_feedforward = 16, batch_first = true)]
    first: TransformerEncoderLayer,
    #[layer(
        TransformerEncoderLayer::config(8, 2).dim_feedforward(16).batch_first(true),
        2,
        norm = LayerNorm::config(8),
    )]
    encoder: TransformerEncoder,
}

#[test]
fn errors_name_the_layer() -> Result<()> {
    let layer = TransformerEncoderLayer::config(8, 2);
    for (error, expected) in [
        (
            message(layer.activation("tanh").init(&CPU)),
            "TransformerEncoderLayer: expected activation \"relu\" or \"gelu\", found \"tanh\"",
        ),
        (
            message(TransformerEncoderLayer::config(8, 3).init(&CPU)),
            "at self_attn (MultiheadAttention 8, 3 heads): expected an embed_dim divisible by num_heads, found \
             embed_dim = 8 and num_heads = 3",
        ),
        (
            message(layer.dropout(1.5).init(&CPU)),
            "at self_attn (MultiheadAttention 8, 2 heads): expected a dropout between 0 and 1, found 1.5",
        ),
        (
            message(TransformerEncoder::config(layer, 0).init(&CPU)),
            "TransformerEncoder: expected num_layers ≥ 1, found 0",
        ),
    ] {
        assert_eq!(error, expected);
    }
    let x = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &CPU);
    let error = message(TransformerEncoder::config(layer, 2).init(&CPU)?.forward(x(&[5, 2, 6])?));
    assert!(error.starts_with("at TransformerEncoder.layers[0].self_attn (Multihead"), "{error}");
    let error = message(layer.norm_first(true).init(&CPU)?.forward(x(&[5, 2, 6])?));
    assert!(error.starts_with("at TransformerEncoderLayer.norm1 (LayerNorm (8,)): expected"), "{error}");
    let model = Model::new(&CPU)?;
    let padding = Signal::from(Tensor::zeros((2, 4), DType::U8, &CPU)?);
    let error = message(model.forward(x(&[2, 5, 8])?, Some(padding)));
    let expected = "at Model.encoder.layers[0].self_attn (MultiheadAttention 8, 2 heads): expected a key_padding_mask \
                    [2, 5], found [2, 4]";
    assert_eq!(error, expected);
    Ok(())
}

#[test]
fn encoders_have_pytorchs_names_and_print_as_in_pytorch() -> Result<()> {
    let model = Model::new(&CPU)?;
    assert_eq!(model.forward(Tensor::zeros((2, 5, 8), DType::F32, &CPU)?, None)?.dims(), [2, 5, 8]);
    let state = model.encoder.state_dict();
    let names: Vec<&str> = state.keys().collect();
    let layer = [
        "self_attn.in_proj_weight",
        "self_attn.in_proj_bias",
        "self_attn.out_proj.weight",
        "self_attn.out_proj.bias",
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
        "linear2.bias",
        "norm1.weight",
        "norm1.bias",
        "norm2.weight",
        "norm2.bias",
    ];
    let expected = (0..2).flat_map(|i| layer.map(|name| format!("layers.{i}.{name}")));
    assert!(names.into_iter().eq(expected.chain(["norm.weight".into(), "norm.bias".into()])));
    let expected = "TransformerEncoderLayer(
  (self_attn): MultiheadAttention(
    (out_proj): NonDynamicallyQuantizableLinear(in_features=8, out_features=8, bias=True)
  )
  (linear1): Linear(in_features=8, out_features=16, bias=True)
  (dropout): Dropout(p=0.1, inplace=False)
  (linear2): Linear(in_features=16, out_features=8, bias=True)
  (norm1): LayerNorm((8,), eps=1e-05, elementwise_affine=True)
  (norm2): LayerNorm((8,), eps=1e-05, elementwise_affine=True)
  (dropout1): Dropout(p=0.1, inplace=False)
  (dropout2): Dropout(p=0.1, inplace=False)
)";
    assert_eq!(model.first.to_string(), expected);
    Ok(())
}
