//! Layers for sequences, layers with several inputs, and `Sequential`: agreement with candle's layers, gradients
//! by finite differences, invalid arguments, and use as fields of derived networks.

use std::collections::HashMap;

use proptest::prelude::*;
use sconce::candle::{self, Var};
use sconce::nn::{self, RNN as _, VarBuilder};
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, message, restride, values};

const CPU: Device = Device::Cpu;

/// Returns the names of a layer's parameters, in the layer's order, each with a random tensor of the parameter's shape.
fn parameters(layer: &impl Network, numbers: &mut Rng) -> Vec<(String, Tensor)> {
    let named = layer.named_parameters().into_iter();
    named.map(|(name, tensor)| (name, numbers.tensor(tensor.dims(), 0.8))).collect()
}

/// Builds the layer of `config` with `tensors` as its parameters, so that gradients reach these tensors through the
/// layer. `names` has the names of the parameters; its tensors are ignored.
fn with_parameters<C: Config>(
    config: C,
    names: &[(String, Tensor)],
    tensors: &[Tensor],
) -> Result<C::Output> {
    let map: HashMap<String, Tensor> =
        names.iter().map(|(name, _)| name.clone()).zip(tensors.iter().cloned()).collect();
    config.build(VarBuilder::from_tensors(map, DType::F64, &CPU))
}

/// Returns the elements of all tensors as one vector.
fn concatenated(tensors: &[Tensor]) -> candle::Result<Tensor> {
    Tensor::cat(&tensors.iter().map(Tensor::flatten_all).collect::<candle::Result<Vec<_>>>()?, 0)
}

/// Checks the gradients of all `inputs` and all parameters of a layer. `run` calls the layer with the inputs.
fn check_layer<C: Config + Clone>(
    config: &C,
    inputs: &[Tensor],
    numbers: &mut Rng,
    run: impl Fn(&C::Output, &[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let names = parameters(&config.clone().init(&CPU)?, numbers);
    let all: Vec<Tensor> = inputs.iter().cloned().chain(names.iter().map(|(_, t)| t.clone())).collect();
    let f = |tensors: &[Tensor]| -> candle::Result<Tensor> {
        let (inputs, parameters) = tensors.split_at(inputs.len());
        let layer = with_parameters(config.clone(), &names, parameters)?;
        concatenated(&run(&layer, inputs)?)
    };
    Ok(check_gradients(f, &all)?)
}

/// Checks GRU and RNN by `check_layer`. Their configs have the same setters, but no common trait.
macro_rules! check_gru_and_rnn {
    ([$input_size:expr, $hidden:expr], $settings:expr, $inputs:expr, $numbers:expr, $run:expr) => {{
        let (layers, bias, batch_first, bidirectional) = $settings;
        let gru = GRU::config($input_size, $hidden).num_layers(layers).bias(bias);
        check_layer(&gru.batch_first(batch_first).bidirectional(bidirectional), $inputs, $numbers, $run)?;
        let rnn = RNN::config($input_size, $hidden).num_layers(layers).bias(bias);
        check_layer(&rnn.batch_first(batch_first).bidirectional(bidirectional), $inputs, $numbers, $run)?;
    }};
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn embedding_reads_rows_of_the_weight(
        rows in 1..7usize, width in 1..5usize, shape in prop::collection::vec(0..4usize, 0..4),
        padding in prop::option::of(0..7usize), id_dtype in 0..3usize, seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let ids: Vec<u32> =
                (0..shape.iter().product()).map(|_| ((numbers.uniform() + 1.) / 2. * rows as f64) as u32).collect();
            let ids = Tensor::from_vec(ids, &shape[..], &CPU)?.to_dtype([DType::U8, DType::U32, DType::I64][id_dtype])?;
            let weight = numbers.tensor(&[width, rows], 1.).t()?;
            let expected: Vec<f64> = ids.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?.iter()
                .map(|id| Ok(weight.get(*id as usize)?.to_vec1::<f64>()?))
                .collect::<Result<Vec<_>>>()?.concat();
            let y = embedding(&restride(&ids)?, &weight).into_tensor()?;
            assert_eq!(y.dims(), [&shape[..], &[width]].concat());
            assert_eq!(values(&y)?, expected);
            check_gradients(|w| Ok(embedding(&ids, &w[0]).into_tensor()?), &[weight])?;

            // Ids may select the padding row, but the gradient of this row is zero. In any other row, the gradient of
            // each element is the number of ids that select the row.
            let padding = padding.filter(|row| *row < rows);
            let config = Embedding::config(rows, width).padding_idx(padding);
            let layer = config.init(&CPU)?;
            let y = layer.call((&ids).into(), Mode::Train).into_tensor()?;
            let grads = y.sum_all()?.backward()?;
            let grad = grads.get(layer.weight()).ok_or_else(|| Error::msg("expected a gradient"))?.to_vec2::<f32>()?;
            let ids = ids.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
            for (row, grad) in grad.iter().enumerate() {
                let count = ids.iter().filter(|id| **id == row as i64).count();
                let expected = if padding == Some(row) { 0. } else { count as f32 };
                assert!(grad.iter().all(|grad| *grad == expected), "row {row}: expected {expected}, found {grad:?}");
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn bilinear_is_a_sum_of_products(
        sizes in (1..4usize, 1..4usize, 1..4usize), batch in prop::collection::vec(0..3usize, 0..3), bias: bool,
        seed: u64,
    ) {
        let (a, b, o) = sizes;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let shape = |last: usize| [&batch[..], &[last]].concat();
            let (x1, x2) = (numbers.tensor(&shape(a), 1.), numbers.tensor(&shape(b), 1.));
            let (weight, shift) = (numbers.tensor(&[o, a, b], 1.), numbers.tensor(&[o], 1.));
            let y = bilinear(restride(&x1)?, restride(&x2)?, &weight, bias.then(|| shift.clone())).into_tensor()?;
            assert_eq!(y.dims(), shape(o));
            let (w, s, u, v) = (values(&weight)?, values(&shift)?, values(&x1)?, values(&x2)?);
            let entry = |row: usize, k: usize| {
                let sum: f64 = (0..a * b).map(|i| u[row * a + i / b] * w[k * a * b + i] * v[row * b + i % b]).sum();
                sum + if bias { s[k] } else { 0. }
            };
            let expected = (0..y.elem_count()).map(|i| entry(i / o, i % o)).collect();
            check_close("output", &y, &Tensor::from_vec(expected, y.shape(), &CPU)?, 1e-12)?;
            if y.elem_count() == 0 {
                return Ok(());
            }
            let config = Bilinear::config(a, b, o).bias(bias);
            check_layer(&config, &[x1, x2], &mut numbers, |layer, x| {
                Ok(vec![layer.call(((&x[0]).into(), (&x[1]).into()), Mode::Eval).into_tensor()?])
            })
        };
        check().map_err(fail)?;
    }

    #[test]
    fn lstm_gradients_agree_with_finite_differences(
        sizes in (1..4usize, 2..4usize), steps in 1..4usize, batch in prop::option::of(1..3usize), layers in 1..3usize,
        flags in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), seed: u64,
    ) {
        let ((input_size, hidden), (bias, batch_first, bidirectional, project)) = (sizes, flags);
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let width = if project { hidden - 1 } else { hidden };
            let config = LSTM::config(input_size, hidden).num_layers(layers).bias(bias).batch_first(batch_first)
                .bidirectional(bidirectional).proj_size(if project { width } else { 0 });
            let state_count = layers * if bidirectional { 2 } else { 1 };
            let (x, h, c) = match batch {
                Some(n) if batch_first => {
                    (vec![n, steps, input_size], vec![state_count, n, width], vec![state_count, n, hidden])
                }
                Some(n) => (vec![steps, n, input_size], vec![state_count, n, width], vec![state_count, n, hidden]),
                None => (vec![steps, input_size], vec![state_count, width], vec![state_count, hidden]),
            };
            let inputs = [x, h, c].map(|shape| numbers.tensor(&shape, 1.));
            check_layer(&config, &inputs, &mut numbers, |lstm, x| {
                let state = ((&x[1]).into(), (&x[2]).into());
                let (y, (h, c)) = lstm.call_with((restride(&x[0])?.into(), state), Mode::Train);
                assert_eq!(h.dims()?, x[1].dims());
                Ok(vec![y.into_tensor()?, h.into_tensor()?, c.into_tensor()?])
            })
        };
        check().map_err(fail)?;
    }

    #[test]
    fn gru_and_rnn_gradients_agree_with_finite_differences(
        input_size in 1..4usize, hidden in 1..4usize, steps in 1..4usize, batch in prop::option::of(1..3usize),
        layers in 1..3usize, flags in (any::<bool>(), any::<bool>(), any::<bool>()), seed: u64,
    ) {
        let (bias, batch_first, bidirectional) = flags;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let state_count = layers * if bidirectional { 2 } else { 1 };
            let (x, h) = match batch {
                Some(n) if batch_first => ([n, steps, input_size].to_vec(), [state_count, n, hidden].to_vec()),
                Some(n) => ([steps, n, input_size].to_vec(), [state_count, n, hidden].to_vec()),
                None => ([steps, input_size].to_vec(), [state_count, hidden].to_vec()),
            };
            let tensors = [x, h].map(|shape| numbers.tensor(&shape, 1.));
            let settings = (layers, bias, batch_first, bidirectional);
            check_gru_and_rnn!([input_size, hidden], settings, &tensors, &mut numbers, |layer, x| {
                let (y, h) = layer.call_with(((&x[0]).into(), (&x[1]).into()), Mode::Train);
                Ok(vec![y.into_tensor()?, h.into_tensor()?])
            });
            Ok(())
        };
        check().map_err(fail)?;
    }

    /// The outputs and the state of each sequence are those of the sequence alone.
    #[test]
    fn a_batch_of_lengths_agrees_with_single_sequences(
        input_size in 1..4usize, hidden in 2..6usize, lengths in prop::collection::vec(1..6usize, 1..5),
        padding in 0..3usize, layers in 1..3usize, flags in (any::<bool>(), any::<bool>(), any::<bool>()), seed: u64,
    ) {
        let (batch_first, bidirectional, project) = flags;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let steps = lengths.iter().max().unwrap_or(&0) + padding;
            let config = LSTM::config(input_size, hidden).num_layers(layers).bidirectional(bidirectional)
                .proj_size(if project { hidden - 1 } else { 0 });
            let names = parameters(&config.init(&CPU)?, &mut numbers);
            let tensors: Vec<Tensor> = names.iter().map(|(_, tensor)| tensor.clone()).collect();
            let single = with_parameters(config, &names, &tensors)?;
            let lstm = with_parameters(config.batch_first(batch_first), &names, &tensors)?;
            let x = numbers.tensor(&[steps, lengths.len(), input_size], 1.);
            let input = if batch_first { x.transpose(0, 1)? } else { x.clone() };
            let (y, (h, c)) = lstm.call_with((input.into(), None, lengths.clone().into()), Mode::Eval);
            let y = y.into_tensor()?;
            let y = if batch_first { y.transpose(0, 1)? } else { y };
            assert_eq!(y.dim(0)?, steps);
            let (h, c) = (h.into_tensor()?, c.into_tensor()?);
            for (i, length) in lengths.iter().enumerate() {
                let sequence = x.narrow(0, 0, *length)?.narrow(1, i, 1)?.squeeze(1)?;
                let (y1, (h1, c1)) = single.call(sequence.into(), Mode::Eval);
                let outputs = y.narrow(0, 0, *length)?.narrow(1, i, 1)?.squeeze(1)?;
                check_close("outputs", &outputs, &y1.into_tensor()?, 1e-12)?;
                check_close("h", &h.narrow(1, i, 1)?.squeeze(1)?, &h1.into_tensor()?, 1e-12)?;
                check_close("c", &c.narrow(1, i, 1)?.squeeze(1)?, &c1.into_tensor()?, 1e-12)?;
                for step in *length..steps {
                    assert!(values(&y.get(step)?.get(i)?)?.iter().all(|y| *y == 0.));
                }
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn gradients_of_packed_sequences_agree_with_finite_differences(
        input_size in 1..3usize, hidden in 1..4usize, lengths in prop::collection::vec(1..4usize, 1..4),
        flags in (any::<bool>(), any::<bool>(), any::<bool>()), seed: u64,
    ) {
        let (bias, batch_first, bidirectional) = flags;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let (steps, batch) = (lengths.iter().max().unwrap_or(&0) + 1, lengths.len());
            let shape = if batch_first { [batch, steps, input_size] } else { [steps, batch, input_size] };
            let state_shape = [if bidirectional { 2 } else { 1 }, batch, hidden];
            let inputs = [shape, state_shape].map(|shape| numbers.tensor(&shape, 1.));
            let settings = (1, bias, batch_first, bidirectional);
            check_gru_and_rnn!([input_size, hidden], settings, &inputs, &mut numbers, |layer, x| {
                let packed = pack_padded_sequence(restride(&x[0])?, &lengths, batch_first);
                let packed = packed.map(|data| data * 2.);
                let (packed, h) = layer.call_packed(packed, Some((&x[1]).into()), Mode::Train);
                let (y, _) = pad_packed_sequence(&packed, batch_first, 3., Some(steps));
                Ok(vec![y.into_tensor()?, h.into_tensor()?])
            });
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn gradients_of_lstm_with_lengths_agree_with_finite_differences(
        input_size in 1..3usize, hidden in 2..4usize, lengths in prop::collection::vec(1..4usize, 1..3),
        flags in (any::<bool>(), any::<bool>(), any::<bool>()), layers in 1..3usize, seed: u64,
    ) {
        let (batch_first, bidirectional, project) = flags;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let (steps, batch) = (lengths.iter().max().unwrap_or(&0) + 1, lengths.len());
            let shape = if batch_first { [batch, steps, input_size] } else { [steps, batch, input_size] };
            let width = if project { hidden - 1 } else { hidden };
            let count = if bidirectional { 2 * layers } else { layers };
            let shapes = [shape, [count, batch, width], [count, batch, hidden]];
            let inputs = shapes.map(|shape| numbers.tensor(&shape, 1.));
            let config = LSTM::config(input_size, hidden).num_layers(layers).batch_first(batch_first);
            let config = config.bidirectional(bidirectional).proj_size(if project { width } else { 0 });
            check_layer(&config, &inputs, &mut numbers, |layer, x| {
                let state = Some(((&x[1]).into(), (&x[2]).into()));
                let lengths = Lengths::from(&lengths);
                let (y, (h, c)) = layer.call_with((restride(&x[0])?.into(), state, lengths), Mode::Train);
                Ok(vec![y.into_tensor()?, h.into_tensor()?, c.into_tensor()?])
            })
        };
        check().map_err(fail)?;
    }

    #[test]
    fn lstm_and_gru_agree_with_candle(
        input_size in 1..6usize, hidden in 1..20usize, steps in 1..6usize, batch in 1..4usize, seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let x = numbers.tensor(&[batch, steps, input_size], 1.);
            let lstm = LSTM::config(input_size, hidden).batch_first(true);
            let names = parameters(&lstm.init(&CPU)?, &mut numbers);
            let vb = VarBuilder::from_tensors(names.iter().cloned().collect(), DType::F64, &CPU);
            let reference = nn::lstm(input_size, hidden, Default::default(), vb.clone())?;
            let states = reference.seq(&x)?;
            let (y, (_, c)) = lstm.build(vb)?.call((&x).into(), Mode::Eval);
            check_close("lstm", &y.into_tensor()?, &reference.states_to_tensor(&states)?, 1e-12)?;
            check_close("cell", &c.into_tensor()?.get(0)?, states[steps - 1].c(), 1e-12)?;

            let gru = GRU::config(input_size, hidden).batch_first(true);
            let names = parameters(&gru.init(&CPU)?, &mut numbers);
            let vb = VarBuilder::from_tensors(names.iter().cloned().collect(), DType::F64, &CPU);
            let reference = nn::gru(input_size, hidden, Default::default(), vb.clone())?;
            let states = reference.seq(&x)?;
            let (y, _) = gru.build(vb)?.call((&x).into(), Mode::Eval);
            // `states_to_tensor` concatenates the features of all steps.
            let y = y.into_tensor()?.flatten_from(1)?;
            check_close("gru", &y, &reference.states_to_tensor(&states)?, 1e-12)?;
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn a_cell_gives_the_result_of_one_step_of_its_layer(
        input_size in 1..4usize, hidden in 1..4usize, n in 0..3usize, bias: bool, seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let x = numbers.tensor(&[n, input_size], 1.).to_dtype(DType::F32)?;
            let [h, c] = [0; 2].map(|_| numbers.tensor(&[n, hidden], 1.).to_dtype(DType::F32));
            let (h, c) = (h?, c?);
            /// Builds the layer from the cell's tensors. In the layer, each tensor's name ends in `_l0`.
            fn layer_of<C: Config>(cell: &impl Network, config: C) -> Result<C::Output> {
                let tensors = cell.named_parameters().into_iter().map(|(name, tensor)| (format!("{name}_l0"), tensor));
                config.build(VarBuilder::from_tensors(tensors.collect(), DType::F32, &CPU))
            }
            let cell = LSTMCell::config(input_size, hidden).bias(bias).init(&CPU)?;
            let lstm = layer_of(&cell, LSTM::config(input_size, hidden).bias(bias))?;
            let (h1, c1) = cell.call_with(((&x).into(), ((&h).into(), (&c).into())), Mode::Eval);
            let state = (h.unsqueeze(0)?.into(), c.unsqueeze(0)?.into());
            let (y, (_, c2)) = lstm.call_with((x.unsqueeze(0)?.into(), state), Mode::Eval);
            check_close("h", &h1.into_tensor()?, &y.into_tensor()?.get(0)?, 0.)?;
            check_close("c", &c1.into_tensor()?, &c2.into_tensor()?.get(0)?, 0.)?;

            let cell = GRUCell::config(input_size, hidden).bias(bias).init(&CPU)?;
            let gru = layer_of(&cell, GRU::config(input_size, hidden).bias(bias))?;
            let h1 = cell.call((&x).into(), Mode::Eval).into_tensor()?;
            let (y, _) = gru.call(x.unsqueeze(0)?.into(), Mode::Eval);
            check_close("gru", &h1, &y.into_tensor()?.get(0)?, 0.)?;

            let cell = RNNCell::config(input_size, hidden).bias(bias).nonlinearity(Nonlinearity::Relu).init(&CPU)?;
            let rnn = layer_of(&cell, RNN::config(input_size, hidden).bias(bias).nonlinearity(Nonlinearity::Relu))?;
            let h1 = cell.call_with(((&x).into(), (&h).into()), Mode::Eval).into_tensor()?;
            let (y, _) = rnn.call_with((x.unsqueeze(0)?.into(), h.unsqueeze(0)?.into()), Mode::Eval);
            check_close("rnn", &h1, &y.into_tensor()?.get(0)?, 0.)?;
            if n > 0 {
                let unbatched = cell.call_with((x.get(0)?.into(), h.get(0)?.into()), Mode::Eval).into_tensor()?;
                check_close("without a batch", &unbatched, &h1.get(0)?, 1e-6)?;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }
}

#[test]
fn empty_batches_are_supported() -> Result<()> {
    let x = Tensor::zeros((4, 0, 3), DType::F32, &CPU)?;
    for project in [0, 2] {
        let lstm = LSTM::config(3, 5).num_layers(2).bidirectional(true).proj_size(project).init(&CPU)?;
        let (y, (h, c)) = lstm.call((&x).into(), Mode::Train);
        let width = if project > 0 { project } else { 5 };
        assert_eq!(y.dims()?, [4, 0, 2 * width]);
        assert_eq!((h.dims()?, c.dims()?), (&[4, 0, width][..], &[4, 0, 5][..]));
        // As in PyTorch, every parameter has a gradient, which is zero.
        let grads = y.into_tensor()?.sum_all()?.backward()?;
        assert_eq!(audit_gradients(&lstm, &grads), [""; 0]);
    }
    let (y, h) = GRU::config(3, 5).init(&CPU)?.call((&x).into(), Mode::Train);
    assert_eq!((y.dims()?, h.dims()?), (&[4, 0, 5][..], &[1, 0, 5][..]));
    let lengths = Lengths::from(Tensor::zeros(0, DType::U32, &CPU)?);
    for x in [(&x).into(), Signal::meta((4, 0, 3), DType::F32)] {
        let (y, h) = GRU::config(3, 5).init(&CPU)?.call_with((x, None, lengths.clone()), Mode::Train);
        assert_eq!((y.dims()?, h.dims()?), (&[4, 0, 5][..], &[1, 0, 5][..]));
    }
    let bilinear = Bilinear::config(3, 2, 4).init(&CPU)?;
    let [a, b] = [3, 2].map(|width| Signal::from(Tensor::zeros((0, width), DType::F32, &CPU)));
    let y = bilinear.call((a, b), Mode::Train).into_tensor()?;
    assert_eq!(audit_gradients(&bilinear, &y.sum_all()?.backward()?), [""; 0]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x, lengths| {
    let (y, (h, _)) = lstm(x, None, &lengths);
    let packed = pack_padded_sequence(y, lengths, true);
    let (packed, _) = gru.call_packed(packed.map(|y| act(y)), Some(h), mode);
    let (y, _) = pad_packed_sequence(&packed, true, 0., None);
    y
})]
struct Reader {
    #[layer(3, 4, batch_first = true)]
    lstm: LSTM,
    act: Tanh,
    #[layer(4, 4, batch_first = true)]
    gru: GRU,
}

#[test]
fn forward_closures_call_layers_with_lengths() -> Result<()> {
    let reader = Reader::new(&CPU)?;
    let x = Rng::new(1).tensor(&[3, 6, 3], 1.).to_dtype(DType::F32)?;
    let lengths = Tensor::new(&[2i64, 5, 1], &CPU)?;
    let y = reader.forward(&x, &lengths)?;
    assert_eq!(y.dims(), [3, 5, 4]);
    // The padding of a sequence has no influence on its outputs.
    let alone = reader.forward(x.narrow(0, 0, 1)?.narrow(1, 0, 2)?, Tensor::new(&[2u32], &CPU)?)?;
    check_close("first sequence", &y.narrow(0, 0, 1)?.narrow(1, 0, 2)?, &alone, 1e-6)?;
    let error = message(reader.forward(&x, Tensor::new(&[2u32, 5, 7], &CPU)?));
    assert_eq!(
        error,
        "at Reader.lstm (LSTM 3→4): expected lengths between 1 and the 6 steps of the input, found 7"
    );
    Ok(())
}

#[test]
fn errors_of_packed_sequences_name_the_invalid_argument() -> Result<()> {
    let x = Tensor::zeros((4, 2, 3), DType::F32, &CPU)?;
    let pack =
        |lengths: Lengths| message(pack_padded_sequence(&x, lengths, false).data().clone().into_tensor());
    let prefix = "pack_padded_sequence: expected";
    assert_eq!(
        pack([4].into()),
        format!("{prefix} one length for each of 2 sequences, found 1 lengths (input [4, 2, 3])")
    );
    assert_eq!(
        pack([4, 0].into()),
        format!("{prefix} lengths between 1 and the 4 steps of the input, found 0")
    );
    assert_eq!(
        pack(Tensor::new(&[4i64, -1], &CPU)?.into()),
        format!("{prefix} lengths of at least 1, found -1")
    );
    assert_eq!(
        pack(Tensor::new(&[4f32, 1.], &CPU)?.into()),
        format!("{prefix} lengths [batch] of u8, u32 or i64, found [2] of F32")
    );
    let rank1 = pack_padded_sequence(x.flatten_all()?, [1], true);
    let error = message(rank1.data().clone().into_tensor());
    assert_eq!(error, format!("{prefix} an input [batch, steps, …], found [24]"));

    let packed = pack_padded_sequence(&x, [3, 4], false);
    let pad = |length| message(pad_packed_sequence(&packed, false, 0., Some(length)).0.into_tensor());
    assert!(pad(3).contains("expected a total_length of at least 4"), "{}", pad(3));
    assert!(pad(usize::MAX).contains("not enough memory for a padded batch"), "{}", pad(usize::MAX));
    let shorter = packed.map(|data| data.narrow(0, 0, 2));
    let error = message(shorter.data().clone().into_tensor());
    assert_eq!(error, "expected packed data [7, …], found [2, 3]");

    let gru = GRU::config(4, 5).init(&CPU)?;
    let (outputs, h) = gru.call_packed(packed.clone(), None, Mode::Eval);
    let expected = "GRU 4→5: expected packed data [rows, 4], found [7, 3]";
    assert_eq!(message(outputs.data().clone().into_tensor()), expected);
    assert_eq!(message(h.into_tensor()), expected);
    // A failed packed sequence passes through layers unchanged.
    let (outputs, _) = gru.call_packed(shorter, None, Mode::Eval);
    let (y, _) = pad_packed_sequence(&outputs, false, 0., None);
    assert_eq!(message(y.into_tensor()), "expected packed data [7, …], found [2, 3]");
    let rank2 = Tensor::zeros((4, 4), DType::F32, &CPU)?;
    for x in [Signal::from(&rank2), Signal::meta((4, 4), DType::F32)] {
        let error = message(gru.call_with((x, None, Lengths::from([4])), Mode::Eval).0.into_tensor());
        assert_eq!(error, "GRU 4→5: expected an input [steps, batch, 4] for lengths, found [4, 4]");
    }
    let cell = GRUCell::config(4, 5).init(&CPU)?;
    let state = Tensor::zeros((3, 5), DType::F32, &CPU)?;
    for x in [Signal::from(&rank2), Signal::meta((4, 4), DType::F32)] {
        let error = message(cell.call_with((x, (&state).into()), Mode::Eval).into_tensor());
        assert_eq!(error, "GRUCell 4→5: expected an initial state [4, 5], found [3, 5]");
    }
    let state = Signal::from(Tensor::zeros((1, 3, 5), DType::F32, &CPU)?);
    let gru = GRU::config(3, 5).init(&CPU)?;
    let error = message(gru.call_packed(packed, Some(state), Mode::Eval).1.into_tensor());
    assert_eq!(error, "GRU 3→5: expected an initial state [1, 2, 5], found [1, 3, 5]");
    Ok(())
}

/// For f16 and bf16, the kernels compute in f32 and round only their results.
#[test]
fn every_dtype_agrees_with_f64() -> Result<()> {
    let mut numbers = Rng::new(3);
    let x = numbers.tensor(&[4, 3, 6], 1.);
    let ids = Tensor::new(&[1u32, 0, 1, 1], &CPU)?;
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        let mut lstm = LSTM::config(6, 5).bidirectional(true).init(&CPU)?;
        lstm.to_dtype(dtype)?;
        let (y, _) = lstm.call(x.to_dtype(dtype)?.into(), Mode::Eval);
        let y = y.into_tensor()?;
        assert_eq!(y.dtype(), dtype);
        let grads = y.sqr()?.sum_all()?.backward()?;
        let (_, recurrent_weight) = lstm.named_parameters().remove(1);
        let grad = grads
            .get(&recurrent_weight)
            .ok_or_else(|| Error::msg("expected a gradient"))?
            .to_dtype(DType::F64)?;
        lstm.to_dtype(DType::F64)?;
        let (in_f64, _) = lstm.call(x.to_dtype(dtype)?.to_dtype(DType::F64)?.into(), Mode::Eval);
        let in_f64 = in_f64.into_tensor()?;
        check_close("lstm", &y, &in_f64, tolerance)?;
        let grads = in_f64.sqr()?.sum_all()?.backward()?;
        let (_, recurrent_weight) = lstm.named_parameters().remove(1);
        let expected = grads.get(&recurrent_weight).ok_or_else(|| Error::msg("expected a gradient"))?;
        check_close("gradient", &grad, expected, 10. * tolerance)?;

        let weight = Var::from_tensor(&numbers.tensor(&[2, 3], 1.).to_dtype(dtype)?)?;
        let y = embedding(&ids, weight.as_tensor()).into_tensor()?;
        let grads = y.sum_all()?.backward()?;
        let grad = grads.get(&weight).ok_or_else(|| Error::msg("expected a gradient"))?;
        assert_eq!(values(grad)?, [1., 1., 1., 3., 3., 3.]);

        let (a, b) = (numbers.tensor(&[2, 3], 1.), numbers.tensor(&[2, 4], 1.));
        let weight = numbers.tensor(&[2, 3, 4], 1.);
        let in_f64 = bilinear(&a, &b, &weight, None).into_tensor()?;
        let [a, b, weight] = [a, b, weight].map(|t| t.to_dtype(dtype));
        let y = bilinear(a?, b?, weight?, None).into_tensor()?;
        check_close("bilinear", &y, &in_f64, 10. * tolerance)?;
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU);
    let layer = Embedding::config(9, 4).init(&CPU)?;
    let read = |ids: Tensor| message(layer.call(ids.into(), Mode::Eval).into_tensor());
    assert_eq!(
        read(Tensor::new(&[[1i64, 9]], &CPU)?),
        "Embedding 9→4: embedding: index 9 is out of range for 9 embeddings"
    );
    assert!(read(Tensor::new(-1i64, &CPU)?).contains("index -1 is out of range for 9 embeddings"));
    assert!(read(zeros(&[2])?).contains("expected ids of u8, u32 or i64, found [2] of F32"));
    let error = message(Embedding::config(9, 4).padding_idx(9).init(&CPU).map(drop));
    assert!(error.contains("expected a padding_idx below 9, found 9"), "{error}");
    let error = message(embedding(Tensor::new(&[0u32], &CPU)?, zeros(&[3])?).into_tensor());
    assert!(error.contains("expected a weight [rows, width], found [3]"), "{error}");

    let layer = Bilinear::config(2, 3, 4).init(&CPU)?;
    for (a, b) in [(vec![5, 2], vec![5, 2]), (vec![5, 2], vec![4, 3]), (vec![], vec![3])] {
        let error = message(layer.call((zeros(&a)?.into(), zeros(&b)?.into()), Mode::Eval).into_tensor());
        let part =
            format!("expected inputs […, 2] and […, 3] with equal leading dimensions, found {a:?} and {b:?}");
        assert!(error.starts_with("Bilinear 2×3→4: ") && error.contains(&part), "{error}");
    }
    assert!(Bilinear::config(0, 1, 1).init(&CPU).is_err());

    let lstm = LSTM::config(3, 4).num_layers(2).batch_first(true).init(&CPU)?;
    let run = |x: Tensor| message(lstm.call(x.into(), Mode::Eval).0.into_tensor());
    assert_eq!(
        run(zeros(&[2, 5, 4])?),
        "LSTM 3→4: expected an input [batch, steps, 3] or [steps, 3], found [2, 5, 4]"
    );
    assert!(run(zeros(&[3])?).contains("found [3]"));
    assert!(run(zeros(&[2, 0, 3])?).contains("expected a sequence of one step or more"));
    assert_eq!(
        run(Tensor::zeros((2, 5, 3), DType::F64, &CPU)?),
        "LSTM 3→4: expected an input of dtype F32, found F64"
    );
    let state = (zeros(&[2, 2, 4])?.into(), zeros(&[2, 3, 4])?.into());
    let (_, (_, c)) = lstm.call_with((zeros(&[2, 5, 3])?.into(), state), Mode::Eval);
    let error = message(c.into_tensor());
    assert!(error.contains("expected an initial state [2, 2, 4], found [2, 3, 4]"), "{error}");
    let failed = Signal::from(Err::<Tensor, _>(Error::msg("failed before")));
    assert_eq!(message(lstm.call(failed, Mode::Eval).1.1.into_tensor()), "failed before");
    let cell = GRUCell::config(3, 4).init(&CPU)?;
    let error = message(cell.call(zeros(&[2, 2])?.into(), Mode::Eval).into_tensor());
    assert_eq!(error, "GRUCell 3→4: expected an input [batch, 3] or [3], found [2, 2]");

    for (config, part) in [
        (
            LSTM::config(3, 0),
            "hidden_size and num_layers of at least 1, found hidden_size = 0 and num_layers = 1",
        ),
        (LSTM::config(3, 4).num_layers(0), "found hidden_size = 4 and num_layers = 0"),
        (LSTM::config(3, 4).dropout(1.5), "expected a dropout between 0 and 1, found 1.5"),
        (LSTM::config(3, 4).proj_size(4), "expected a proj_size below hidden_size = 4, found 4"),
    ] {
        let error = message(config.init(&CPU).map(drop));
        assert!(error.contains(part), "{error}");
    }
    Ok(())
}

/// Returns the largest absolute value.
fn max_abs(tensor: &Tensor) -> Result<f64> {
    Ok(values(tensor)?.into_iter().map(f64::abs).fold(0., f64::max))
}

#[test]
fn initial_parameters_agree_with_pytorch() -> Result<()> {
    let layer = Embedding::config(50, 40).padding_idx(7).init(&CPU)?;
    let weight = values(layer.weight())?;
    assert!(weight[280..320].iter().all(|x| *x == 0.));
    // The padding row is zero. The other 49 rows have 40 random elements each, 1960 in total.
    let variance = weight.iter().map(|x| x * x).sum::<f64>() / 1960.;
    assert!((variance - 1.).abs() < 0.15, "{variance}");
    // A checkpoint may set the padding row.
    let path = std::env::temp_dir().join(format!("sconce-embedding-{}.safetensors", std::process::id()));
    let ones = HashMap::from([("weight".to_string(), Tensor::ones((50, 40), DType::F32, &CPU)?)]);
    candle::safetensors::save(&ones, &path)?;
    let loaded = Embedding::config(50, 40).padding_idx(7).load(&path, &CPU);
    std::fs::remove_file(&path)?;
    assert!(values(loaded?.weight())?.iter().all(|x| *x == 1.));
    // The padding row is also zero if the weight is created in candle's `VarMap`.
    let map = nn::VarMap::new();
    let layer =
        Embedding::config(5, 4).padding_idx(1).build(VarBuilder::from_varmap(&map, DType::F32, &CPU))?;
    assert_eq!(values(&layer.weight().get(1)?)?, [0.; 4]);

    let lstm = LSTM::config(30, 25).num_layers(2).bidirectional(true).proj_size(9).init(&CPU)?;
    let gru = GRU::config(30, 25).bidirectional(true).init(&CPU)?;
    for (name, tensor) in lstm.named_parameters().into_iter().chain(gru.named_parameters()) {
        // The numbers are uniformly distributed within ±1 / √25 = ±0.2.
        let largest = max_abs(&tensor)?;
        assert!((0.17..0.2).contains(&largest), "{name}: {largest}");
    }
    let names: Vec<String> = gru.named_parameters().into_iter().map(|(name, _)| name).collect();
    let names_of = |suffix: &str| {
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_l0{suffix}"))
    };
    assert_eq!(names, [names_of(""), names_of("_reverse")].concat());
    let names: Vec<String> = lstm.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        (names.len(), names[4].as_str(), names[19].as_str()),
        (20, "weight_hr_l0", "weight_hr_l1_reverse")
    );
    // The input weight of the second layer has four gates of 25 rows, and reads 9 features of each direction.
    assert_eq!(lstm.named_parameters()[10].1.dims(), [100, 18]);

    let layer = Bilinear::config(16, 5, 40).init(&CPU)?;
    // The numbers are uniformly distributed within ±1 / √16 = ±0.25.
    assert!((0.24..0.25).contains(&max_abs(layer.weight())?));
    Ok(())
}

#[test]
fn layers_print_as_in_pytorch() -> Result<()> {
    let embedding = Embedding::config(9, 4);
    assert_eq!(embedding.init(&CPU)?.to_string(), "Embedding(9, 4)");
    assert_eq!(embedding.padding_idx(2).init(&CPU)?.to_string(), "Embedding(9, 4, padding_idx=2)");
    let layer = Bilinear::config(2, 3, 4).init(&CPU)?;
    assert_eq!(layer.to_string(), "Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)");
    assert_eq!(GRU::config(3, 4).init(&CPU)?.to_string(), "GRU(3, 4)");
    let lstm = LSTM::config(3, 4)
        .proj_size(2)
        .num_layers(2)
        .bias(false)
        .batch_first(true)
        .dropout(0.1)
        .bidirectional(true);
    assert_eq!(
        lstm.init(&CPU)?.to_string(),
        "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True, dropout=0.1, bidirectional=True)"
    );
    let cell = RNNCell::config(3, 4).nonlinearity(Nonlinearity::Relu).bias(false).init(&CPU)?;
    assert_eq!(cell.to_string(), "RNNCell(3, 4, bias=False, nonlinearity=relu)");
    let layers = Sequential::config().push(Linear::config(2, 3)).push_named("act", Relu).init(&CPU)?;
    assert_eq!(
        layers.to_string(),
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (act): ReLU()\n)"
    );
    Ok(())
}

#[test]
fn dropout_applies_between_layers_and_in_training_only() -> Result<()> {
    let x = Tensor::ones((3, 2, 4), DType::F32, &CPU)?;
    let run = |lstm: &LSTM, mode| lstm.call((&x).into(), mode).0.into_tensor();
    let two_layers = LSTM::config(4, 4).num_layers(2).dropout(1.).init(&CPU)?;
    assert!(
        values(&(run(&two_layers, Mode::Train)? - run(&two_layers, Mode::Eval)?)?)?.iter().any(|d| *d != 0.)
    );
    let one_layer = LSTM::config(4, 4).dropout(1.).init(&CPU)?;
    assert_eq!(values(&run(&one_layer, Mode::Train)?)?, values(&run(&one_layer, Mode::Eval)?)?);
    Ok(())
}

#[test]
fn sequential_works_as_a_layer() -> Result<()> {
    let mlp = || {
        Sequential::config().push(Linear::config(4, 8)).push(Relu).push_named("head", Linear::config(8, 2))
    };
    let mut net = mlp().init(&CPU)?;
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "head.weight", "head.bias"]);
    let x = Tensor::ones((3, 4), DType::F32, &CPU)?;
    let y = net.call((&x).into(), Mode::Eval).into_tensor()?;
    assert_eq!(y.dims(), [3, 2]);

    // Saving, loading, detaching and freezing work as for any other layer.
    let path = std::env::temp_dir().join(format!("sconce-sequential-{}.safetensors", std::process::id()));
    net.save(&path)?;
    let loaded = mlp().load(&path, &CPU);
    std::fs::remove_file(&path)?;
    assert_eq!(values(&loaded?.call((&x).into(), Mode::Eval).into_tensor()?)?, values(&y)?);
    assert!(net.detached().trainable_parameters().is_empty());
    net.freeze("head.**")?;
    assert_eq!(net.trainable_parameters().len(), 2);

    let all = Sequential::config().push(Identity).extend(mlp()).extend(mlp());
    let error = message(all.init(&CPU)?.call((&x).into(), Mode::Eval).into_tensor().map(drop));
    assert_eq!(error, "at [4] (Linear 4→8): expected an input […, 4], found [3, 2]");
    let wrong = Sequential::new().push(Relu).push_named("head", Linear::config(9, 2).init(&CPU)?);
    assert_eq!(
        message(wrong.call((&x).into(), Mode::Eval).into_tensor()),
        "at head (Linear 9→2): expected an input […, 9], found [3, 4]"
    );

    let boxed: Vec<Box<dyn Layer>> = vec![Box::new(Relu), Box::new(Linear::config(4, 2).init(&CPU)?)];
    let built = Sequential::from(boxed);
    assert_eq!((built.len(), built.is_empty(), built.layers().count()), (2, false, 2));
    assert_eq!(built.named_parameters()[0].0, "1.weight");
    assert_eq!(values(&Sequential::new().call((&x).into(), Mode::Eval).into_tensor()?)?, [1.; 12]);
    let boxed: Box<dyn Layer> = Box::new(Linear::config(4, 2).init(&CPU)?);
    assert!(boxed.detached().trainable_parameters().is_empty());
    let nested = Sequential::new().push(built).push(Box::new(Relu) as Box<dyn Layer>);
    assert_eq!(nested.named_parameters()[0].0, "0.1.weight");
    Ok(())
}

fn mlp(widths: &[usize]) -> SequentialConfig {
    widths
        .windows(2)
        .fold(Sequential::config(), |layers, pair| layers.push(Linear::config(pair[0], pair[1])).push(Tanh))
}

/// A network on token ids.
#[derive(Module)]
#[module(forward = |ids, state| {
    let mut x = embedding(ids);
    let (y, (h, _)) = lstm(x);
    x = y;
    let mut last = state;
    for gru in grus {
        let (y, h) = gru(x, last);
        x = y;
        last = h;
    }
    let (x, _) = rnn(x);
    (body(x.narrow(1, 2, 1).squeeze(1)), h)
})]
struct Sequences {
    #[layer(7, 4, padding_idx = 0)]
    embedding: Embedding,
    #[layer(4, 5, num_layers = 2, bidirectional = true, batch_first = true)]
    lstm: LSTM,
    #[layer(if i == 0 { 10 } else { 6 }, 6, batch_first = true; for i in 0..2)]
    grus: Vec<GRU>,
    #[layer(6, 8, batch_first = true)]
    rnn: RNN,
    #[layer(extend = mlp(&[8, 8, 2]))]
    body: Sequential,
}

/// A network of recurrent cells.
#[derive(Module)]
#[module(forward = |a, b| {
    let x = bilinear(a, b);
    let state = cell(x);
    let (h, _) = cell(x, state);
    let h = steps[1](steps[0](h), h);
    plain(h, h)
})]
struct Steps {
    #[layer(2, 3, 6)]
    bilinear: Bilinear,
    #[layer(6, 4)]
    cell: LSTMCell,
    #[layer(4, 4; for _ in 0..2)]
    steps: Vec<GRUCell>,
    #[layer(4, 4)]
    plain: RNNCell,
}

/// Sets all parameters to random numbers from a generator with this seed. The initial values would differ from run
/// to run, because they come from sconce's global generator, which other tests use at the same time.
fn randomize(net: &impl Network, seed: u64) -> Result<()> {
    let mut numbers = Rng::new(seed);
    net.trainable_parameters().iter().try_for_each(|(_, parameter)| {
        Ok(parameter.set(&numbers.tensor(parameter.dims(), 0.8).to_dtype(parameter.dtype())?)?)
    })
}

/// Returns the losses of `steps` steps of gradient descent. Every parameter must have a gradient in each
/// step.
fn train(net: &impl Network, rate: f64, steps: usize, loss: impl Fn() -> Result<Tensor>) -> Result<Vec<f64>> {
    let mut losses = Vec::new();
    for _ in 0..steps {
        let loss = loss()?;
        let grads = loss.backward()?;
        for (name, parameter) in net.trainable_parameters() {
            let grad =
                grads.get(&parameter).ok_or_else(|| Error::msg(format!("`{name}`: expected a gradient")))?;
            parameter.set(&(parameter.as_tensor() - (grad * rate)?)?)?;
        }
        losses.extend(values(&loss)?);
    }
    Ok(losses)
}

#[test]
fn every_layer_learns_as_a_field() -> Result<()> {
    let mut net = Sequences::new(&CPU)?;
    // With the smaller initial parameters, the output would hardly depend on the token ids after so many layers.
    randomize(&net, 1)?;
    let padding = values(&net.embedding.weight().get(0)?)?;
    let ids = Tensor::new(&[[1u32, 4, 6], [2, 0, 0], [5, 3, 1]], &CPU)?;
    let state = Tensor::zeros((1, 3, 6), DType::F32, &CPU)?;
    let target = Tensor::new(&[[0.5f32, -0.5], [-0.3, 0.1], [0.2, 0.4]], &CPU)?;
    let losses = train(&net, 0.5, 200, || {
        let (y, h) = net.forward_t(&ids, &state, true)?;
        assert_eq!(h.dims(), [4, 3, 5]);
        Ok((y - &target)?.sqr()?.mean_all()?)
    })?;
    assert!(losses[199] < losses[0] / 10., "{losses:?}");
    assert_eq!(values(&net.embedding.weight().get(0)?)?, padding);
    net.to_dtype(DType::F64)?;
    let error = message(net.forward(Tensor::new(&[[7u32]], &CPU)?, state.to_dtype(DType::F64)?).map(drop));
    assert_eq!(
        error,
        "at Sequences.embedding (Embedding 7→4): embedding: index 7 is out of range for 7 embeddings"
    );

    let net = Steps::new(&CPU)?;
    randomize(&net, 2)?;
    let mut numbers = Rng::new(1);
    let mut random = |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32);
    let (a, b, target) = (random(&[3, 2])?, random(&[3, 3])?, (random(&[3, 4])? * 0.7)?);
    let losses = train(&net, 0.5, 200, || Ok((net.forward(&a, &b)? - &target)?.sqr()?.mean_all()?))?;
    assert!(losses[199] < losses[0] / 10., "{losses:?}");
    Ok(())
}

mod with_candles_embedding {
    //! An explicit import takes precedence over the prelude.
    use sconce::nn::Embedding;
    use sconce::prelude::*;

    #[derive(Module)]
    struct Words {
        #[layer(with = |vb| sconce::nn::embedding(5, 3, vb))]
        words: Embedding,
    }

    #[test]
    fn candles_embedding_works_as_a_field() -> Result<()> {
        let net = Words::new(&Device::Cpu)?;
        let words: &sconce::nn::Embedding = &net.words;
        assert_eq!(words.hidden_size(), 3);
        assert_eq!(net.forward(Tensor::new(&[1u32, 4], &Device::Cpu)?)?.dims(), [2, 3]);
        Ok(())
    }
}
