//! Attention: agreement with plain sums, gradients by finite differences, masks, invalid arguments, and attention
//! layers as fields of a derived network.

use std::collections::HashMap;

use proptest::prelude::*;
use sconce::candle;
use sconce::nn::VarBuilder;
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, message, restride, values};

const CPU: Device = Device::Cpu;

/// How a test masks keys.
#[derive(Clone, Copy, Debug)]
enum Masking {
    None,
    Causal,
    Bool,
    Float,
}

fn masking() -> impl Strategy<Value = Masking> {
    prop_oneof![Just(Masking::None), Just(Masking::Causal), Just(Masking::Bool), Just(Masking::Float)]
}

/// Computes the output and the attention weights of a single head and batch element with plain sums. `bias` is added to
/// the scores. There are `l` queries and `s` keys. A query or key has `e` features, and a value has `d` features.
/// PyTorch's documentation calls these sizes L, S, E and Ev.
fn naive(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, bias: &[f64]) -> Result<(Tensor, Tensor)> {
    let ((l, e), (s, d)) = (q.dims2()?, v.dims2()?);
    let (q, k, v) = (values(q)?, values(k)?, values(v)?);
    let (mut outputs, mut weights) = (Vec::new(), Vec::new());
    for i in 0..l {
        let score =
            |j: usize| (0..e).map(|f| q[i * e + f] * k[j * e + f]).sum::<f64>() * scale + bias[i * s + j];
        let exponentials: Vec<f64> = (0..s).map(|j| score(j).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        let row: Vec<f64> = exponentials.iter().map(|x| if sum > 0. { x / sum } else { 0. }).collect();
        outputs.extend((0..d).map(|f| (0..s).map(|j| row[j] * v[j * d + f]).sum::<f64>()));
        weights.extend(row);
    }
    Ok((Tensor::from_vec(outputs, (l, d), &CPU)?, Tensor::from_vec(weights, (l, s), &CPU)?))
}

/// Returns a `u8` mask in which zeros and ones are equally likely. As in PyTorch, 1 stands for a visible key in
/// `scaled_dot_product_attention`, and for a masked key in `MultiheadAttention`.
fn random_mask(numbers: &mut Rng, shape: &[usize]) -> Result<Tensor> {
    Ok(numbers.tensor(shape, 1.).gt(0.)?)
}

/// Returns the value that is added to the score of a key: -∞ if the key is masked, and otherwise 0.
fn penalty(masked: bool) -> f64 {
    if masked { f64::NEG_INFINITY } else { 0. }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn dot_product_attention_is_a_weighted_sum(
        sizes in (0..4usize, 0..4usize, 1..4usize, 1..4usize), batch in prop::collection::vec(1..3usize, 0..4),
        masking in masking(), scale in prop::option::of(0.1..2f64), shared: bool, seed: u64,
    ) {
        let (l, s, e, d) = sizes;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let count: usize = batch.iter().product();
            let shape = |rows: usize, columns: usize| [&batch[..], &[rows, columns]].concat();
            let q = numbers.tensor(&shape(l, e), 2.);
            // The keys are shared by the whole batch, or differ between its elements.
            let k = numbers.tensor(&if shared { vec![s, e] } else { shape(s, e) }, 2.);
            let v = numbers.tensor(&shape(s, d), 2.);
            let (mask, bias) = match masking {
                Masking::None => (None, vec![0.; l * s]),
                Masking::Causal => (None, (0..l * s).map(|i| penalty(i % s > i / s)).collect()),
                Masking::Bool => {
                    let mask = random_mask(&mut numbers, &[l, s])?;
                    let bias = bools(&mask)?.into_iter().map(|visible| penalty(!visible)).collect();
                    (Some(mask), bias)
                }
                Masking::Float => {
                    let mask = numbers.tensor(&[l, s], 2.);
                    let bias = values(&mask)?;
                    (Some(mask), bias)
                }
            };
            let options = || {
                let options = AttentionOptions::default().scale(scale).is_causal(matches!(masking, Masking::Causal));
                match &mask {
                    Some(mask) => options.mask(mask),
                    None => options,
                }
            };
            let y = scaled_dot_product_attention(restride(&q)?, restride(&k)?, restride(&v)?, options()).into_tensor()?;
            assert_eq!(y.dims(), shape(l, d));
            let flat_batch = |x: &Tensor, rows: usize, columns: usize| {
                x.broadcast_as(shape(rows, columns))?.reshape((count, rows, columns))
            };
            let (qs, ks, vs) = (flat_batch(&q, l, e)?, flat_batch(&k, s, e)?, flat_batch(&v, s, d)?);
            let ys = y.reshape((count, l, d))?;
            let scale = scale.unwrap_or(1. / (e as f64).sqrt());
            for i in 0..count {
                let (expected, _) = naive(&qs.get(i)?, &ks.get(i)?, &vs.get(i)?, scale, &bias)?;
                check_close("output", &ys.get(i)?, &expected, 1e-12)?;
            }
            if l * s == 0 {
                return Ok(());
            }
            let mut tensors = vec![q, k, v];
            // The gradient of a float mask is checked as well.
            let mask_has_gradient = matches!(masking, Masking::Float);
            tensors.extend(mask.clone().filter(|_| mask_has_gradient));
            let run = |x: &[Tensor]| -> candle::Result<Tensor> {
                let options = if mask_has_gradient { options().mask(&x[3]) } else { options() };
                Ok(scaled_dot_product_attention(&x[0], &x[1], &x[2], options).into_tensor()?)
            };
            Ok(check_gradients(run, &tensors)?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn multihead_attention_agrees_with_separate_heads(
        sizes in (1..3usize, 1..3usize, 1..4usize, 1..4usize, prop::option::of(1..3usize)),
        widths in (prop::option::of(1..4usize), prop::option::of(1..4usize)),
        flags in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        padding: bool, masking in masking(), per_head: bool, average: bool, seed: u64,
    ) {
        let (heads, width, l, s, batch) = sizes;
        let (bias, bias_kv, zero_attn, batch_first) = flags;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let (e, n) = (heads * width, batch.unwrap_or(1));
            let (kdim, vdim) = (widths.0.unwrap_or(e), widths.1.unwrap_or(e));
            let config = MultiheadAttention::config(e, heads).kdim(kdim).vdim(vdim).bias(bias).add_bias_kv(bias_kv)
                .add_zero_attn(zero_attn).batch_first(batch_first).is_causal(matches!(masking, Masking::Causal))
                .average_attn_weights(average);
            let shape = |positions: usize, features: usize| match batch {
                Some(n) if batch_first => vec![n, positions, features],
                Some(n) => vec![positions, n, features],
                None => vec![positions, features],
            };
            let inputs = [(l, e), (s, kdim), (s, vdim)];
            let inputs = inputs.map(|(positions, features)| numbers.tensor(&shape(positions, features), 1.));
            let padding_shape = if batch.is_some() { vec![n, s] } else { vec![s] };
            let padding = padding.then(|| random_mask(&mut numbers, &padding_shape)).transpose()?;
            let shape = if per_head { vec![n * heads, l, s] } else { vec![l, s] };
            let mask = match masking {
                Masking::None | Masking::Causal => None,
                Masking::Bool => Some(random_mask(&mut numbers, &shape)?),
                Masking::Float => Some(numbers.tensor(&shape, 1.)),
            };
            let names = config.init(&CPU)?.named_parameters();
            let parameters: Vec<Tensor> = names.iter().map(|(_, t)| numbers.tensor(t.dims(), 0.8)).collect();
            let build = |tensors: &[Tensor]| {
                let map: HashMap<String, Tensor> =
                    names.iter().map(|(name, _)| name.clone()).zip(tensors.iter().cloned()).collect();
                config.build(VarBuilder::from_tensors(map, DType::F64, &CPU))
            };
            let run = |tensors: &[Tensor]| -> Result<(Tensor, Tensor)> {
                let [q, k, v] = [0, 1, 2].map(|i| Signal::from(&tensors[i]));
                let (padding, mask) = (padding.as_ref().map(Signal::from), mask.as_ref().map(Signal::from));
                let (y, weights) = build(&tensors[3..])?.call((q, k, v, padding, mask), Mode::Eval);
                Ok((y.into_tensor()?, weights.into_tensor()?))
            };
            let all = [&inputs[..], &parameters].concat();
            let (y, weights) = run(&all)?;
            assert_eq!(y.dims(), inputs[0].dims());

            // The reference reads the parameters by name, and computes one head of one batch element at a time.
            let parameter_of: HashMap<&str, &Tensor> =
                names.iter().map(|(name, _)| name.as_str()).zip(&parameters).collect();
            let batch_element = |x: &Tensor, i: usize| match batch {
                Some(_) => x.get_on_dim(if batch_first { 0 } else { 1 }, i),
                None => Ok(x.clone()),
            };
            let weight = |i: usize| match parameter_of.get("in_proj_weight") {
                Some(all) => all.narrow(0, i * e, e),
                None => Ok(parameter_of[["q_proj_weight", "k_proj_weight", "v_proj_weight"][i]].clone()),
            };
            for b in 0..n {
                let mut projected = Vec::new();
                for (i, input) in inputs.iter().enumerate() {
                    let mut x = batch_element(input, b)?.matmul(&weight(i)?.t()?)?;
                    if bias {
                        x = x.broadcast_add(&parameter_of["in_proj_bias"].narrow(0, i * e, e)?)?;
                    }
                    if i > 0 && bias_kv {
                        x = Tensor::cat(&[x, parameter_of[["bias_k", "bias_v"][i - 1]].reshape((1, e))?], 0)?;
                    }
                    if i > 0 && zero_attn {
                        x = x.pad_with_zeros(0, 0, 1)?;
                    }
                    projected.push(x);
                }
                let keys = projected[1].dim(0)?;
                let mut weights_by_head = Vec::new();
                let mut outputs = Vec::new();
                for h in 0..heads {
                    // The penalties and mask values that are added to the scores of the head.
                    let mut score_bias = vec![0.; l * keys];
                    for (i, j) in (0..l * s).map(|index| (index / s, index % s)) {
                        let entry = &mut score_bias[i * keys + j];
                        if let Some(padding) = &padding {
                            *entry += penalty(bools(padding)?[if batch.is_some() { b * s + j } else { j }]);
                        }
                        let index = if per_head { ((b * heads + h) * l + i) * s + j } else { i * s + j };
                        *entry += match masking {
                            Masking::None => 0.,
                            Masking::Causal => penalty(j > i),
                            Masking::Bool => {
                                penalty(mask.as_ref().map(bools).transpose()?.unwrap_or_default()[index])
                            }
                            Masking::Float => mask.as_ref().map(values).transpose()?.unwrap_or_default()[index],
                        };
                    }
                    let head = |x: &Tensor| x.narrow(1, h * width, width);
                    let scale = 1. / (width as f64).sqrt();
                    let (output, head_weights) =
                        naive(&head(&projected[0])?, &head(&projected[1])?, &head(&projected[2])?, scale, &score_bias)?;
                    outputs.push(output);
                    weights_by_head.push(head_weights);
                }
                let mut expected = Tensor::cat(&outputs, 1)?.matmul(&parameter_of["out_proj.weight"].t()?)?;
                if bias {
                    expected = expected.broadcast_add(parameter_of["out_proj.bias"])?;
                }
                check_close("output", &batch_element(&y, b)?, &expected, 1e-12)?;
                let weights = if batch.is_some() { weights.get(b)? } else { weights.clone() };
                let expected = Tensor::stack(&weights_by_head, 0)?;
                let expected = if average { expected.mean(0)? } else { expected };
                assert_eq!(weights.dims(), expected.dims());
                check_close("weights", &weights, &expected, 1e-12)?;
            }

            let both = |tensors: &[Tensor]| -> candle::Result<Tensor> {
                let (y, weights) = run(tensors)?;
                Tensor::cat(&[y.flatten_all()?, weights.flatten_all()?], 0)
            };
            Ok(check_gradients(both, &all)?)
        };
        check().map_err(fail)?;
    }
}

fn bools(mask: &Tensor) -> Result<Vec<bool>> {
    Ok(mask.flatten_all()?.to_vec1::<u8>()?.into_iter().map(|bit| bit != 0).collect())
}

#[test]
fn the_output_of_a_query_without_visible_keys_is_zero_and_so_is_its_gradient() -> Result<()> {
    let mut numbers = Rng::new(1);
    let x = candle::Var::from_tensor(&numbers.tensor(&[3, 2], 1.))?;
    let mask = Tensor::new(&[[1u8, 1, 1], [0, 0, 0], [0, 1, 0]], &CPU)?;
    let y = scaled_dot_product_attention(x.as_tensor(), x.as_tensor(), x.as_tensor(), mask).into_tensor()?;
    assert_eq!(values(&y.get(1)?)?, [0., 0.]);
    check_close("one key", &y.get(2)?, &x.get(1)?, 1e-15)?;
    let grads = y.get(1)?.sum_all()?.backward()?;
    let grad = grads.get(&x).ok_or_else(|| Error::msg("expected a gradient"))?;
    assert_eq!(values(grad)?, [0.; 6]);
    Ok(())
}

/// If query, key and value are the same tensor, one matrix product projects them. Copies of the tensor are projected
/// separately.
#[test]
fn projecting_query_key_and_value_at_once_or_separately_gives_the_same_results() -> Result<()> {
    let mut numbers = Rng::new(6);
    let mut attn = MultiheadAttention::config(6, 2).init(&CPU)?;
    attn.to_dtype(DType::F64)?;
    let x = numbers.tensor(&[4, 3, 6], 1.);
    let run = |x: [&Tensor; 3]| -> Result<Vec<f64>> {
        let [q, k, v] = x.map(Signal::from);
        let y = attn.call((q, k, v), Mode::Eval).0.into_tensor()?;
        let grads = y.sqr()?.sum_all()?.backward()?;
        let mut all = values(&y)?;
        for parameter in attn.parameters() {
            all.extend(values(grads.get(&parameter).ok_or_else(|| Error::msg("expected a gradient"))?)?);
        }
        Ok(all)
    };
    let (shared, separate) = (run([&x, &x, &x])?, run([&x, &x.copy()?, &x.copy()?])?);
    assert_eq!(shared.len(), separate.len());
    assert!(shared.iter().zip(&separate).all(|(a, b)| (a - b).abs() < 1e-12));
    Ok(())
}

#[test]
fn empty_batches_are_supported() -> Result<()> {
    let attn = MultiheadAttention::config(6, 2).batch_first(true).add_bias_kv(true).init(&CPU)?;
    let x = Tensor::zeros((0, 3, 6), DType::F32, &CPU)?;
    let mask = Tensor::zeros((0, 3), DType::U8, &CPU)?;
    let inputs = ((&x).into(), (&x).into(), (&x).into(), Some(mask.into()), None);
    let (y, weights) = attn.call(inputs, Mode::Train);
    assert_eq!((y.dims()?, weights.dims()?), (&[0, 3, 6][..], &[0, 3, 4][..]));
    // As in PyTorch, every parameter has a gradient, which is zero.
    let grads = y.into_tensor()?.sum_all()?.backward()?;
    assert_eq!(audit_gradients(&attn, &grads), [""; 0]);
    Ok(())
}

#[test]
fn every_dtype_agrees_with_f64() -> Result<()> {
    let mut numbers = Rng::new(2);
    let x = numbers.tensor(&[2, 4, 6, 8], 1.);
    let in_f64 = scaled_dot_product_attention(&x, &x, &x, AttentionOptions::default().is_causal(true))
        .into_tensor()?;
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        let x = candle::Var::from_tensor(&x.to_dtype(dtype)?)?;
        let x = x.as_tensor();
        let y = scaled_dot_product_attention(x, x, x, AttentionOptions::default().is_causal(true))
            .into_tensor()?;
        assert_eq!(y.dtype(), dtype);
        check_close("attention", &y, &in_f64, tolerance)?;
        assert!(y.sum_all()?.backward()?.get(x).is_some());

        let mut attn = MultiheadAttention::config(8, 2).init(&CPU)?;
        attn.to_dtype(dtype)?;
        let x = x.get(0)?;
        let (y, _) = attn.call(((&x).into(), (&x).into(), (&x).into()), Mode::Eval);
        let y = y.into_tensor()?;
        attn.to_dtype(DType::F64)?;
        let x = x.to_dtype(DType::F64)?;
        let (expected, _) = attn.call(((&x).into(), (&x).into(), (&x).into()), Mode::Eval);
        check_close("layer", &y, &expected.into_tensor()?, tolerance)?;
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU);
    let dot = |q: &[usize], k: &[usize], v: &[usize], options: AttentionOptions| -> Result<String> {
        Ok(message(scaled_dot_product_attention(zeros(q)?, zeros(k)?, zeros(v)?, options).into_tensor()))
    };
    let defaults = AttentionOptions::default;
    for (q, k, v) in
        [(&[3, 2][..], &[4, 1][..], &[4, 1][..]), (&[3, 2], &[4, 2], &[3, 1]), (&[2], &[4, 2], &[4, 2])]
    {
        let error = dot(q, k, v, defaults())?;
        assert!(error.contains(&format!("found {q:?}, {k:?} and {v:?}")), "{error}");
    }
    assert!(
        dot(&[2, 3, 2], &[3, 4, 2], &[4, 1], defaults())?.contains("found [2, 3, 2], [3, 4, 2] and [4, 1]")
    );
    let square = &[3, 3][..];
    let error = dot(square, square, square, zeros(&[2, 3])?.into())?;
    assert_eq!(error, "expected a mask that broadcasts to [3, 3], found [2, 3]");
    let error = dot(square, square, square, zeros(square)?.to_dtype(DType::U32)?.into())?;
    assert_eq!(error, "expected a mask of u8 or floats, found U32");
    let error = dot(square, square, square, defaults().is_causal(true).mask(zeros(square)?))?;
    assert_eq!(error, "expected either a mask or is_causal, found both");
    assert!(
        dot(square, square, square, defaults().dropout_p(2., Mode::Train))?
            .contains("between 0 and 1, found 2")
    );

    let attn = MultiheadAttention::config(4, 2).init(&CPU)?;
    let run = |shapes: [&[usize]; 3], padding: Option<Tensor>, mask: Option<Tensor>| -> Result<String> {
        let [q, k, v] = shapes.map(zeros);
        let inputs = (q?.into(), k?.into(), v?.into(), padding.map(Signal::from), mask.map(Signal::from));
        Ok(message(attn.call(inputs, Mode::Eval).0.into_tensor()))
    };
    let valid: [&[usize]; 3] = [&[5, 2, 4], &[3, 2, 4], &[3, 2, 4]];
    for shapes in [
        [&[5, 2, 3][..], valid[1], valid[2]],
        [valid[0], &[3, 1, 4], valid[2]],
        [valid[0], valid[1], &[3, 4]],
    ] {
        let error = run(shapes, None, None)?;
        let [q, k, v] = shapes;
        assert!(
            error.starts_with("MultiheadAttention 4, 2 heads: expected a query [length, batch, 4]"),
            "{error}"
        );
        assert!(error.ends_with(&format!("found {q:?}, {k:?} and {v:?}")), "{error}");
    }
    let error = run(valid, Some(zeros(&[3, 2])?), None)?;
    assert!(error.ends_with("expected a key_padding_mask [2, 3], found [3, 2]"), "{error}");
    let error = run(valid, None, Some(zeros(&[2, 5, 3])?))?;
    assert!(error.ends_with("expected an attn_mask [5, 3] or [4, 5, 3], found [2, 5, 3]"), "{error}");
    let error = run(valid, None, Some(zeros(&[5, 3])?.to_dtype(DType::I64)?))?;
    assert!(error.ends_with("expected attn_mask of u8 or floats, found I64"), "{error}");
    for (config, part) in [
        (
            MultiheadAttention::config(4, 3),
            "expected an embed_dim divisible by num_heads, found embed_dim = 4 and num_heads = 3",
        ),
        (MultiheadAttention::config(4, 0), "found embed_dim = 4 and num_heads = 0"),
        (MultiheadAttention::config(4, 2).dropout(-1.), "expected a dropout between 0 and 1, found -1"),
    ] {
        let error = message(config.init(&CPU).map(drop));
        assert!(error.contains(part), "{error}");
    }
    let failed = Signal::from(Err::<Tensor, _>(Error::msg("failed before")));
    let y = scaled_dot_product_attention(zeros(square)?, failed, zeros(square)?, None);
    assert_eq!(message(y.into_tensor()), "failed before");
    Ok(())
}

#[test]
fn names_initial_values_and_printing_agree_with_pytorch() -> Result<()> {
    let names = |attn: &MultiheadAttention| -> Vec<String> {
        attn.named_parameters().into_iter().map(|(name, _)| name).collect()
    };
    let packed = MultiheadAttention::config(32, 4).add_bias_kv(true).init(&CPU)?;
    let common = ["in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias"];
    assert_eq!(names(&packed), [&["in_proj_weight"], &common[..]].concat());
    let separate = MultiheadAttention::config(32, 4).kdim(8).add_bias_kv(true).init(&CPU)?;
    let weights = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
    assert_eq!(names(&separate), [&weights[..], &common].concat());
    assert_eq!(
        names(&MultiheadAttention::config(4, 2).bias(false).init(&CPU)?),
        ["in_proj_weight", "out_proj.weight"]
    );

    let magnitudes = |attn: &MultiheadAttention| -> Result<HashMap<String, f64>> {
        let magnitude = |(name, tensor): (String, Tensor)| {
            let largest = values(&tensor)?.into_iter().map(f64::abs).fold(0., f64::max);
            Ok((name, largest))
        };
        attn.named_parameters().into_iter().map(magnitude).collect()
    };
    let (packed_magnitudes, separate_magnitudes) = (magnitudes(&packed)?, magnitudes(&separate)?);
    // PyTorch draws the input projections from Xavier's uniform distribution, whose bound is √(6 / (inputs + outputs)),
    // and the output projection from a uniform distribution with the bound 1 / √inputs.
    for (largest, bound) in [
        (packed_magnitudes["in_proj_weight"], (6f64 / 128.).sqrt()),
        (packed_magnitudes["out_proj.weight"], 1. / 32f64.sqrt()),
        (separate_magnitudes["q_proj_weight"], (6f64 / 64.).sqrt()),
        (separate_magnitudes["k_proj_weight"], (6f64 / 40.).sqrt()),
    ] {
        assert!(
            largest <= bound && largest > 0.95 * bound,
            "expected a maximum of about {bound}, found {largest}"
        );
    }
    assert_eq!((packed_magnitudes["in_proj_bias"], packed_magnitudes["out_proj.bias"]), (0., 0.));
    assert!((0.1..1.).contains(&packed_magnitudes["bias_k"]), "{}", packed_magnitudes["bias_k"]);
    assert_eq!(
        packed.to_string(),
        "MultiheadAttention(\n  (out_proj): NonDynamicallyQuantizableLinear(in_features=32, out_features=32, \
         bias=True)\n)"
    );
    Ok(())
}

#[test]
fn dropout_drops_weights_in_training_only() -> Result<()> {
    let x = Tensor::ones((1, 50, 2), DType::F32, &CPU)?;
    let run = |mode| {
        scaled_dot_product_attention(&x, &x, &x, AttentionOptions::default().dropout_p(0.5, mode))
            .into_tensor()
    };
    assert!(values(&run(Mode::Eval)?)?.iter().all(|y| (y - 1.).abs() < 1e-5));
    let dropped = values(&run(Mode::Train)?)?;
    assert!(dropped.iter().any(|y| (y - 1.).abs() > 0.05));
    assert!((dropped.iter().sum::<f64>() / 100. - 1.).abs() < 0.1);

    let attn = MultiheadAttention::config(2, 1).dropout(1.).batch_first(true).init(&CPU)?;
    let (y, weights) = attn.call(((&x).into(), (&x).into(), (&x).into()), Mode::Train);
    assert!(values(&weights.into_tensor()?)?.iter().all(|w| *w == 0.));
    assert!(values(&y.into_tensor()?)?.iter().all(|y| *y == 0.));
    Ok(())
}

/// A decoder block: causal self-attention, cross-attention to a memory whose padding is masked, and
/// `scaled_dot_product_attention`.
#[derive(Module)]
#[module(forward = |x, memory, padding| {
    let (h, _) = self_attn(x, x, x);
    let x = x + h;
    let (h, weights) = cross_attn(x, memory, memory, padding, None);
    let x = x + h;
    let query = to_query(x);
    let x = x + scaled_dot_product_attention(query, x, x, None);
    (linear(x, weight, None), weights)
})]
struct Decoder {
    #[layer(6, 3, is_causal = true, batch_first = true, need_weights = false, add_bias_kv = true)]
    self_attn: MultiheadAttention,
    #[layer(6, 2, kdim = 4, vdim = 4, batch_first = true, add_zero_attn = true)]
    cross_attn: MultiheadAttention,
    #[layer(6, 6)]
    to_query: Linear,
    #[param((2, 6))]
    weight: Tensor,
}

#[test]
fn attention_learns_as_a_field() -> Result<()> {
    let net = Decoder::new(&CPU)?;
    let mut numbers = Rng::new(4);
    for (_, parameter) in net.trainable_parameters() {
        parameter.set(&numbers.tensor(parameter.dims(), 0.5).to_dtype(DType::F32)?)?;
    }
    let mut random = |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32);
    let (x, memory, target) = (random(&[2, 4, 6])?, random(&[2, 3, 4])?, random(&[2, 4, 2])?);
    let padding = Tensor::new(&[[0u8, 0, 1], [0, 0, 0]], &CPU)?;
    let mut losses = Vec::new();
    for _ in 0..300 {
        let (y, weights) = net.forward_t(&x, &memory, &padding, true)?;
        assert_eq!(weights.dims(), [2, 4, 4]);
        assert!(values(&weights.get(0)?.narrow(1, 2, 1)?)?.iter().all(|weight| *weight == 0.));
        let loss = (y - &target)?.sqr()?.mean_all()?;
        let grads = loss.backward()?;
        for (name, parameter) in net.trainable_parameters() {
            let grad =
                grads.get(&parameter).ok_or_else(|| Error::msg(format!("`{name}`: expected a gradient")))?;
            parameter.set(&(parameter.as_tensor() - (grad * 0.1)?)?)?;
        }
        losses.extend(values(&loss)?);
    }
    assert!(losses[299] < losses[0] / 4., "{losses:?}");

    let (_, weights) = net.self_attn.call(((&x).into(), (&x).into(), (&x).into()), Mode::Eval);
    assert!(message(weights.into_tensor()).contains("need_weights is false"));
    let error = message(net.forward(&x, &x, &padding).map(drop));
    assert!(
        error.starts_with("at Decoder.cross_attn (MultiheadAttention 6, 2 heads): expected a query"),
        "{error}"
    );
    Ok(())
}
