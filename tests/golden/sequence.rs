//! Compares linear layers and layers for sequences with the golden data.

use sconce::prelude::*;

use crate::cases::{Case, golden_tests};
use crate::layer::{check, check_with};

/// Builds the settings that LSTM and GRU share.
macro_rules! recurrent_config {
    ($layer:ident, $case:expr) => {{
        let case = $case;
        $layer::config(case.size("input_size"), case.size("hidden_size"))
            .num_layers(case.size("num_layers"))
            .bias(case.is_true("bias"))
            .batch_first(case.is_true("batch_first"))
            .bidirectional(case.is_true("bidirectional"))
    }};
}

/// Checks a recurrent layer over packed sequences. `$into_state` creates the state from the inputs after the first.
macro_rules! check_packed {
    ($config:expr, $case:expr, $into_state:expr, $into_tensors:expr) => {{
        let case = $case;
        let sizes = |name: &str| -> Vec<usize> {
            let list = case.args[name].as_array().expect("the case should have this list");
            list.iter().map(|size| size.as_u64().expect("each size should be an integer") as usize).collect()
        };
        check_with($config, case, |layer, x, mode| {
            let batch_first = case.is_true("batch_first");
            let packed = pack_padded_sequence(&x[0], sizes("lengths"), batch_first);
            assert_eq!(packed.batch_sizes(), sizes("batch_sizes"));
            let (packed, state) = layer.call_packed(packed, Some($into_state(&x[1..])), mode);
            let padding = case.number("padding_value").expect("the case should have a padding_value");
            let total_length = case.number("total_length").map(|length| length as usize);
            let (padded, lengths) = pad_packed_sequence(&packed, batch_first, padding, total_length);
            assert_eq!(lengths, sizes("lengths"));
            let mut outputs = vec![padded, packed.data().clone()];
            outputs.extend($into_tensors(state));
            Ok(outputs)
        })
    }};
}

/// Returns the config of an encoder layer, without dropout.
fn encoder_layer(case: &Case) -> TransformerEncoderLayerConfig {
    TransformerEncoderLayer::config(case.size("d_model"), case.size("nhead"))
        .dim_feedforward(case.size("dim_feedforward"))
        .dropout(0.)
        .activation(if case.args["activation"] == "gelu" { "gelu" } else { "relu" })
        .layer_norm_eps(case.number("layer_norm_eps").unwrap_or(1e-5))
        .batch_first(case.is_true("batch_first"))
        .norm_first(case.is_true("norm_first"))
        .bias(case.is_true("bias"))
}

/// Returns the source, the attention mask and the padding mask of a case.
fn encoder_inputs(case: &Case, src: &Signal) -> Result<(Signal, Option<Signal>, Option<Signal>)> {
    let length = src.dim(if case.is_true("batch_first") { 1 } else { 0 })?;
    let causal = (0..length * length).map(|i| u8::from(i % length > i / length)).collect::<Vec<_>>();
    let causal = Signal::from(Tensor::from_vec(causal, (length, length), &Device::Cpu)?);
    let padding = case.args["lengths"].as_array().map(|lengths| -> Result<Signal> {
        let hidden = lengths
            .iter()
            .map(|visible| visible.as_u64().expect("each length should be an integer") as usize)
            .flat_map(|visible| (0..length).map(move |i| u8::from(i >= visible)))
            .collect::<Vec<_>>();
        Ok(Tensor::from_vec(hidden, (lengths.len(), length), &Device::Cpu)?.into())
    });
    Ok((src.into(), case.is_true("causal").then_some(causal), padding.transpose()?))
}

/// Returns a size that may be `null`.
fn optional_size(case: &Case, name: &str) -> Option<usize> {
    case.number(name).map(|size| size as usize)
}

golden_tests! {
    linear: "Linear", 16 => |case| {
        let config = Linear::config(case.size("in_features"), case.size("out_features"));
        check(config.bias(case.is_true("bias")), case)
    };
    bilinear: "Bilinear", 16 => |case| {
        let [in1, in2, out] = ["in1_features", "in2_features", "out_features"].map(|name| case.size(name));
        check_with(Bilinear::config(in1, in2, out), case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode)])
        })
    };
    cosine_similarity: "CosineSimilarity", 16 => |case| {
        let config = CosineSimilarity::config()
            .dim(case.number("dim").expect("the case should have a dim") as isize)
            .eps(case.number("eps").expect("the case should have an eps"));
        check_with(config, case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode)])
        })
    };
    pairwise_distance: "PairwiseDistance", 24 => |case| {
        let p = case.args["p"].as_str().and_then(|p| p.parse().ok()).expect("the case should have a p");
        let config = PairwiseDistance::config()
            .p(p)
            .eps(case.number("eps").expect("the case should have an eps"))
            .keepdim(case.is_true("keepdim"));
        check_with(config, case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode)])
        })
    };
    transformer_encoder_layer: "TransformerEncoderLayer", 16 => |case| {
        check_with(encoder_layer(case), case, |layer, x, mode| {
            Ok(vec![layer.call_with(encoder_inputs(case, &x[0])?, mode)])
        })
    };
    transformer_encoder: "TransformerEncoder", 8 => |case| {
        let norm = case.is_true("final_norm").then(|| LayerNorm::config(case.size("d_model")));
        let config = TransformerEncoder::config(encoder_layer(case), case.size("num_layers")).norm(norm);
        check_with(config, case, |encoder, x, mode| {
            Ok(vec![encoder.call_with(encoder_inputs(case, &x[0])?, mode)])
        })
    };
    embedding: "Embedding", 6 => |case| {
        let config = Embedding::config(case.size("num_embeddings"), case.size("embedding_dim"));
        check(config.padding_idx(case.number("padding_idx").map(|row| row as usize)), case)
    };
    lstm: "LSTM", 16 => |case| {
        check_with(recurrent_config!(LSTM, case), case, |lstm, x, mode| {
            let (y, (h, c)) = lstm.call((&x[0]).into(), mode);
            Ok(vec![y, h, c])
        })
    };
    gru: "GRU", 16 => |case| {
        check_with(recurrent_config!(GRU, case), case, |gru, x, mode| {
            let (y, h) = gru.call((&x[0]).into(), mode);
            Ok(vec![y, h])
        })
    };
    packed_recurrent: "PackedRecurrent", 36 => |case| {
        let single = |x: &[Signal]| Signal::from(&x[0]);
        match case.args["layer"].as_str() {
            Some("LSTM") => check_packed!(
                recurrent_config!(LSTM, case).proj_size(case.size("proj_size")),
                case,
                |x: &[Signal]| (Signal::from(&x[0]), Signal::from(&x[1])),
                |(h, c)| [h, c]
            ),
            Some("GRU") => check_packed!(recurrent_config!(GRU, case), case, single, |h| [h]),
            _ => check_packed!(recurrent_config!(RNN, case), case, single, |h| [h]),
        }
    };
    multihead_attention: "MultiheadAttention", 16 => |case| {
        let config = MultiheadAttention::config(case.size("embed_dim"), case.size("num_heads"))
            .batch_first(case.is_true("batch_first"))
            .bias(case.is_true("bias"));
        check_with(config, case, |attention, x, mode| {
            let [q, k, v] = [0, 1, 2].map(|i| Signal::from(&x[i]));
            let (y, weights) = attention.call((q, k, v), mode);
            Ok(vec![y, weights])
        })
    };
    attention_masks: "MultiheadAttentionMasks", 32 => |case| {
        let config = MultiheadAttention::config(case.size("embed_dim"), case.size("num_heads"))
            .bias(case.is_true("bias"))
            .add_bias_kv(case.is_true("add_bias_kv"))
            .add_zero_attn(case.is_true("add_zero_attn"))
            .kdim(optional_size(case, "kdim"))
            .vdim(optional_size(case, "vdim"))
            .batch_first(case.is_true("batch_first"))
            .is_causal(case.is_true("causal"))
            .average_attn_weights(case.is_true("average_attn_weights"));
        check_with(config, case, |attention, x, mode| {
            let [q, k, v] = [0, 1, 2].map(|i| Signal::from(&x[i]));
            let mut masks = x[3..].iter().map(Signal::from);
            let padding = if case.is_true("padding") { masks.next() } else { None };
            let (y, weights) = attention.call((q, k, v, padding, masks.next()), mode);
            Ok(vec![y, weights])
        })
    };
    rotary_embedding: "RotaryEmbedding", 32 => |case| {
        let config = RotaryEmbedding::config(case.size("dim"))
            .max_seq_len(case.size("max_seq_len"))
            .base(case.number("base").expect("the case should have a base"))
            .interleaved(case.is_true("interleaved"));
        check_with(config, case, |rotary, x, mode| {
            let positions = match x.get(1) {
                Some(positions) => Positions::from(positions),
                None => case.size("offset").into(),
            };
            Ok(vec![rotary.call_with(((&x[0]).into(), positions), mode)])
        })
    };
    embedding_bag: "EmbeddingBag", 48 => |case| {
        let rows = case.size("num_embeddings");
        let padding = case.number("padding_idx").map(|row| if row < 0. { row + rows as f64 } else { row } as usize);
        let config = EmbeddingBag::config(rows, case.size("embedding_dim"))
            .mode(match case.args["mode"].as_str() {
                Some("sum") => BagMode::Sum,
                Some("max") => BagMode::Max,
                _ => BagMode::Mean,
            })
            .include_last_offset(case.is_true("include_last_offset"))
            .padding_idx(padding);
        check_with(config, case, |bag, x, mode| {
            let mut inputs = x[1..].iter().map(Signal::from);
            let offsets = if case.is_true("offsets") { inputs.next() } else { None };
            Ok(vec![bag.call_with(((&x[0]).into(), offsets, inputs.next()), mode)])
        })
    };
}
