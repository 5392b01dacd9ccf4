//! Compares linear layers and layers for sequences with the golden data.

use sconce::prelude::*;

use crate::cases::golden_tests;
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

golden_tests! {
    linear: "Linear", 16 => |case| {
        let config = Linear::config(case.size("in_features"), case.size("out_features"));
        check(config.bias(case.is_true("bias")), case)
    };
    bilinear: "Bilinear", 16 => |case| {
        let [in1, in2, out] = ["in1_features", "in2_features", "out_features"].map(|name| case.size(name));
        check_with(Bilinear::config(in1, in2, out), case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode).into_tensor()?])
        })
    };
    cosine_similarity: "CosineSimilarity", 16 => |case| {
        let config = CosineSimilarity::config()
            .dim(case.number("dim").expect("the case should have a dim") as isize)
            .eps(case.number("eps").expect("the case should have an eps"));
        check_with(config, case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode).into_tensor()?])
        })
    };
    pairwise_distance: "PairwiseDistance", 24 => |case| {
        let p = case.args["p"].as_str().and_then(|p| p.parse().ok()).expect("the case should have a p");
        let config = PairwiseDistance::config()
            .p(p)
            .eps(case.number("eps").expect("the case should have an eps"))
            .keepdim(case.is_true("keepdim"));
        check_with(config, case, |layer, x, mode| {
            Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), mode).into_tensor()?])
        })
    };
    embedding: "Embedding", 6 => |case| {
        let config = Embedding::config(case.size("num_embeddings"), case.size("embedding_dim"));
        check(config.padding_idx(case.number("padding_idx").map(|row| row as usize)), case)
    };
    lstm: "LSTM", 16 => |case| {
        check_with(recurrent_config!(LSTM, case), case, |lstm, x, mode| {
            let (y, (h, c)) = lstm.call((&x[0]).into(), mode);
            Ok(vec![y.into_tensor()?, h.into_tensor()?, c.into_tensor()?])
        })
    };
    gru: "GRU", 16 => |case| {
        check_with(recurrent_config!(GRU, case), case, |gru, x, mode| {
            let (y, h) = gru.call((&x[0]).into(), mode);
            Ok(vec![y.into_tensor()?, h.into_tensor()?])
        })
    };
    multihead_attention: "MultiheadAttention", 16 => |case| {
        let config = MultiheadAttention::config(case.size("embed_dim"), case.size("num_heads"))
            .batch_first(case.is_true("batch_first"))
            .bias(case.is_true("bias"));
        check_with(config, case, |attention, x, mode| {
            let [q, k, v] = [0, 1, 2].map(|i| Signal::from(&x[i]));
            let (y, weights) = attention.call((q, k, v), mode);
            Ok(vec![y.into_tensor()?, weights.into_tensor()?])
        })
    };
}
