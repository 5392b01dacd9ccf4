//! Exports attention and recurrent layers with their settings.

use sconce::prelude::*;

use crate::models::{uniform, write, write_with};

fn random(shape: &[usize]) -> Result<Tensor> {
    uniform(shape, [-2., 2.])
}

#[test]
fn multihead_attention() -> Result<()> {
    sconce::manual_seed(0);
    let attention = MultiheadAttention::config(8, 2).batch_first(true);
    let configs = [
        ("attention_all_weights", attention.average_attn_weights(false)),
        ("attention_causal", attention.is_causal(true).bias(false)),
        ("attention_extra_keys", attention.add_bias_kv(true).add_zero_attn(true).is_causal(true)),
    ];
    for (name, config) in configs {
        let inputs = |batch| Ok([random(&[batch, 5, 8])?]);
        write_with("sequences", name, &config.init(&Device::Cpu)?, inputs, |[x]| (x.clone(), x.clone(), x))?;
    }
    let separate = MultiheadAttention::config(8, 2).kdim(4).vdim(6).add_bias_kv(true).init(&Device::Cpu)?;
    let inputs = |batch: usize| {
        // The last example has no visible keys.
        let hidden = (0..batch * 3).map(|i| u8::from(i % 3 >= 3 - i / 3 % 4));
        let padding = Tensor::from_iter(hidden, &Device::Cpu)?.reshape((batch, 3))?;
        let mask = random(&[5, 3])?;
        Ok([random(&[5, batch, 8])?, random(&[3, batch, 4])?, random(&[3, batch, 6])?, padding, mask])
    };
    write_with("sequences", "attention_masks", &separate, inputs, |[query, key, value, padding, mask]| {
        (query, key, value, Some(padding), Some(mask))
    })
}

#[derive(Module)]
#[module(forward = |query, key, value, mask| scaled_dot_product_attention(query, key, value, mask))]
struct Attention {}

#[test]
fn attention_with_hidden_queries() -> Result<()> {
    let inputs = |batch: usize| {
        let visible = (0..batch * 12).map(|i| u8::from(i % 12 > 3 && i % 5 > 0));
        let mask = Tensor::from_iter(visible, &Device::Cpu)?.reshape((batch, 1, 3, 4))?;
        Ok([random(&[batch, 2, 3, 6])?, random(&[batch, 2, 4, 6])?, random(&[batch, 1, 4, 5])?, mask])
    };
    write_with("sequences", "attention_hidden", &Attention {}, inputs, |[q, k, v, mask]| (q, k, v, mask))
}

#[test]
fn recurrent_layers_with_a_state() -> Result<()> {
    sconce::manual_seed(0);
    let lstm = LSTM::config(4, 8).num_layers(2).bidirectional(true).batch_first(true).init(&Device::Cpu)?;
    let inputs = |batch| Ok([random(&[batch, 5, 4])?, random(&[4, batch, 8])?, random(&[4, batch, 8])?]);
    let network = WithState { lstm };
    write_with("sequences", "lstm_state", &network, inputs, |[x, hidden, cell]| (x, hidden, cell))?;
    let gru = GRU::config(4, 8).num_layers(3).bias(false).init(&Device::Cpu)?;
    write("sequences", "gru_no_bias", &gru, |batch| random(&[5, batch, 4]))?;
    let rnn = RNN::config(4, 8).nonlinearity(Nonlinearity::Relu).bidirectional(true).init(&Device::Cpu)?;
    write("sequences", "rnn_relu", &rnn, |batch| random(&[5, batch, 4]))?;
    write("sequences", "lstm_cell", &LSTMCell::config(4, 8).init(&Device::Cpu)?, |batch| random(&[batch, 4]))
}

#[derive(Module)]
#[module(forward = |x, hidden: Signal, cell: Signal| {
    let (outputs, (hidden, cell)) = lstm(x, (hidden, cell));
    (outputs, hidden, cell)
})]
struct WithState {
    #[layer(4, 8)]
    lstm: LSTM,
}

#[derive(Module)]
#[module(forward = |x| rotary_embedding(half(interleaved(x)), cos, sin, false))]
struct Rotary {
    #[layer(6, base = 100.)]
    interleaved: RotaryEmbedding,
    #[layer(4, interleaved = false)]
    half: RotaryEmbedding,
    #[buffer((5, 3), init = Tensor::arange(0f32, 15., &Device::Cpu)?.reshape((5, 3))?.cos()?)]
    cos: Tensor,
    #[buffer((5, 3), init = Tensor::arange(0f32, 15., &Device::Cpu)?.reshape((5, 3))?.sin()?)]
    sin: Tensor,
}

#[test]
fn rotary_embeddings() -> Result<()> {
    write("sequences", "rotary", &Rotary::new(&Device::Cpu)?, |batch| random(&[batch, 2, 5, 8]))
}
