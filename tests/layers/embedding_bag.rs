//! Bags of embeddings: agreement with plain sums, gradients by finite differences, dtypes, and invalid arguments.

use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, message, restride, values};

const CPU: Device = Device::Cpu;

/// Returns `count` random integers below `bound`.
fn integers(numbers: &mut Rng, count: usize, bound: usize) -> Vec<usize> {
    (0..count).map(|_| ((numbers.uniform() + 1.) / 2. * bound as f64) as usize).collect()
}

fn to_tensor(values: &[usize], shape: &[usize], dtype: DType) -> Result<Tensor> {
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    Ok(Tensor::from_vec(values, shape, &CPU)?.to_dtype(dtype)?)
}

/// Combines the rows of each bag with plain loops. Returns the elements of the output.
fn naive(
    ids: &[usize],
    bounds: &[usize],
    weight: &[Vec<f64>],
    samples: Option<&[f64]>,
    bags: &Bags,
) -> Vec<f64> {
    let mut all = Vec::new();
    for bag in bounds.windows(2) {
        let kept: Vec<usize> = (bag[0]..bag[1]).filter(|i| Some(ids[*i]) != bags.padding).collect();
        let width = weight.first().map_or(0, Vec::len);
        all.extend((0..width).map(|column| {
            let factor = |i: usize| samples.map_or(1., |samples| samples[i]);
            let column = kept.iter().map(|i| weight[ids[*i]][column] * factor(*i));
            match bags.mode {
                BagMode::Max => column.reduce(f64::max).unwrap_or(0.),
                BagMode::Mean => column.sum::<f64>() / kept.len().max(1) as f64,
                BagMode::Sum => column.sum(),
            }
        }));
    }
    all
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn bags_are_combined_row_by_row(
        sizes in (1..8usize, 1..20usize, 0..5usize, 0..6usize), mode in 0..3usize, flat: bool,
        include_last_offset: bool, weighted: bool, padding in prop::option::of(0..8usize),
        id_dtype in 0..3usize, seed: u64,
    ) {
        let (rows, width, count, length) = sizes;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let dtype = [DType::U8, DType::U32, DType::I64][id_dtype];
            let mode = [BagMode::Sum, BagMode::Mean, BagMode::Max][mode];
            let ids = integers(&mut numbers, count * length, rows);
            let (shape, bounds) = if flat {
                let mut bounds = integers(&mut numbers, count, ids.len() + 1);
                bounds.sort_unstable();
                let ends = if count == 0 { vec![0] } else { vec![ids.len()] };
                bounds.iter_mut().take(1).for_each(|first| *first = 0);
                (vec![ids.len()], [bounds, ends].concat())
            } else {
                (vec![count, length], (0..=count).map(|bag| bag * length).collect())
            };
            let offsets = if include_last_offset { &bounds[..] } else { &bounds[..count] };
            let offsets = flat.then(|| to_tensor(offsets, &[offsets.len()], dtype)).transpose()?;
            let id_tensor = restride(&to_tensor(&ids, &shape, dtype)?)?;
            let samples = (weighted && mode == BagMode::Sum).then(|| numbers.tensor(&shape, 1.));
            let weight = numbers.distinct(&[rows, width], 0.1);
            let padding = padding.filter(|row| *row < rows);
            let bags = Bags { mode, offsets, include_last_offset, per_sample_weights: samples.clone(), padding };

            let weight_rows = weight.to_vec2::<f64>()?;
            let flat_samples = samples.as_ref().map(values).transpose()?;
            let expected = naive(&ids, &bounds, &weight_rows, flat_samples.as_deref(), &bags);
            let expected = Tensor::from_vec(expected, (count, width), &CPU)?;
            let run = |weight: &Tensor, samples: Option<&Tensor>| {
                let bags = Bags { per_sample_weights: samples.cloned(), ..bags.clone() };
                embedding_bag(&id_tensor, weight, &bags).into_tensor()
            };
            let restrided = samples.as_ref().map(restride).transpose()?;
            check_close("output", &run(&restride(&weight)?, restrided.as_ref())?, &expected, 1e-13)?;
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 2e-2), (DType::BF16, 2e-1)] {
                let samples = samples.as_ref().map(|samples| samples.to_dtype(dtype)).transpose()?;
                let weight = weight.to_dtype(dtype)?;
                let frozen = run(&weight, samples.as_ref())?;
                assert_eq!(frozen.dtype(), dtype);
                check_close("narrow dtype", &frozen, &expected, tolerance)?;
                // A trainable table of halves is widened, and a frozen one is not.
                let trained = run(candle::Var::from_tensor(&weight)?.as_tensor(), samples.as_ref())?;
                assert_eq!(values(&trained)?, values(&frozen)?);
            }
            let inputs: Vec<Tensor> = std::iter::once(weight).chain(samples).collect();
            Ok(check_gradients(|x| Ok(run(&x[0], x.get(1))?), &inputs)?)
        };
        check().map_err(fail)?;
    }
}

/// Several tasks compute the bags, and the output does not depend on their number.
#[test]
fn large_bags_agree_with_products() -> Result<()> {
    let mut numbers = Rng::new(5);
    let (rows, bags, length, width) = (50, 300, 40, 96);
    let weight = numbers.tensor(&[rows, width], 1.);
    let ids = integers(&mut numbers, bags * length, rows);
    // The number of times that each bag contains each row.
    let mut counts = vec![0.; bags * rows];
    ids.iter().enumerate().for_each(|(i, id)| counts[i / length * rows + id] += 1.);
    let expected = Tensor::from_vec(counts, (bags, rows), &CPU)?.matmul(&weight)?;
    let ids = to_tensor(&ids, &[bags, length], DType::U32)?;
    let sum = Bags { mode: BagMode::Sum, ..Bags::default() };
    check_close("sum", &embedding_bag(&ids, &weight, &sum).into_tensor()?, &expected, 1e-12)?;
    let mean = embedding_bag(&ids, &weight, &Bags::default()).into_tensor()?;
    check_close("mean", &mean, &(expected / length as f64)?, 1e-13)?;
    Ok(())
}

#[test]
fn the_gradient_of_a_maximum_goes_to_the_first_embedding_that_has_it() -> Result<()> {
    let weight = candle::Var::from_tensor(&Tensor::new(&[[1f32, 2.], [1., 5.], [0., 5.]], &CPU)?)?;
    let ids = Tensor::new(&[[0u32, 1, 2, 1]], &CPU)?;
    let bags = Bags { mode: BagMode::Max, ..Bags::default() };
    let grads = embedding_bag(&ids, weight.as_tensor(), &bags).into_tensor()?.sum_all()?.backward()?;
    let grad = grads.get(&weight).ok_or_else(|| Error::msg("expected a gradient"))?;
    assert_eq!(grad.to_vec2::<f32>()?, [[1., 0.], [0., 1.], [0., 0.]]);
    Ok(())
}

/// A network calls the layer in each of the ways.
#[derive(Module)]
#[module(forward = |rows, ids, offsets, weights| {
    (bag(rows), bag(ids, offsets), bag(ids, Some(offsets), Some(weights)), bag(rows, None, None))
})]
struct Calls {
    #[layer(5, 2, mode = BagMode::Sum, padding_idx = 1)]
    bag: EmbeddingBag,
}

#[test]
fn the_layer_can_be_called_in_several_ways() -> Result<()> {
    let mut net = Calls::new(&CPU)?;
    assert_eq!(net.bag.weight().get(1)?.to_vec1::<f32>()?, [0., 0.]);
    let mut state = net.state_dict();
    let rows = [[1f32, 10.], [2., 20.], [4., 40.], [8., 80.], [16., 160.]];
    state.insert("bag.weight", Tensor::new(&rows, &CPU)?);
    net.load_state_dict(&state)?;
    let ids = Tensor::new(&[0u32, 1, 4, 3], &CPU)?;
    let offsets = Tensor::new(&[0u32, 3], &CPU)?;
    let weights = Tensor::new(&[1f32, 1., 0.5, 2.], &CPU)?;
    let (by_row, by_offset, weighted, again) = net.forward(ids.reshape((2, 2))?, &ids, &offsets, &weights)?;
    assert_eq!(by_row.to_vec2::<f32>()?, [[1., 10.], [24., 240.]]);
    assert_eq!(by_offset.to_vec2::<f32>()?, [[17., 170.], [8., 80.]]);
    assert_eq!(weighted.to_vec2::<f32>()?, [[9., 90.], [16., 160.]]);
    assert_eq!(again.to_vec2::<f32>()?, by_row.to_vec2::<f32>()?);
    assert_eq!(net.to_string(), "Calls(\n  (bag): EmbeddingBag(5, 2, mode='sum', padding_idx=1)\n)");
    let error = message(net.forward(&ids, &ids, &offsets, &weights));
    assert!(
        error.starts_with("at Calls.bag (EmbeddingBag 5→2): embedding_bag: expected ids [bags, length]"),
        "{error}"
    );
    Ok(())
}

/// Inputs without numbers fail in the same way as inputs with numbers.
#[test]
fn inputs_without_numbers_are_checked() -> Result<()> {
    let tensor = |shape: &[usize], dtype: DType| Tensor::zeros(shape, dtype, &CPU);
    let failed = || Signal::fail(Error::msg("failed before"));
    let float = |shape: &[usize]| tensor(shape, DType::F32).map(Signal::from);
    let ids = |shape: &[usize]| tensor(shape, DType::U32).map(Signal::from);
    for (mode, include_last, operands) in [
        (BagMode::Sum, false, (float(&[2, 3])?, None, None)),
        (BagMode::Sum, false, (ids(&[3])?, None, None)),
        (BagMode::Sum, false, (ids(&[3])?, Some(float(&[1])?), None)),
        (BagMode::Sum, false, (ids(&[3])?, Some(ids(&[1, 1])?), None)),
        (BagMode::Sum, false, (ids(&[3])?, Some(ids(&[0])?), None)),
        (BagMode::Sum, true, (ids(&[3])?, Some(ids(&[0])?), None)),
        (BagMode::Sum, true, (ids(&[0])?, Some(ids(&[0])?), None)),
        (BagMode::Sum, false, (ids(&[2, 3])?, Some(failed()), None)),
        (BagMode::Sum, false, (ids(&[2, 3])?, None, Some(failed()))),
        (BagMode::Sum, false, (ids(&[2, 3])?, None, Some(float(&[3, 2])?))),
        (BagMode::Sum, false, (ids(&[2, 3])?, None, Some(ids(&[2, 3])?))),
        (BagMode::Mean, false, (ids(&[2, 3])?, None, Some(float(&[2, 3])?))),
    ] {
        let bag = EmbeddingBag::config(4, 5).mode(mode).include_last_offset(include_last).init(&CPU)?;
        let run = |operands: (Signal, Option<Signal>, Option<Signal>)| {
            message(bag.call_with(operands, Mode::Eval).into_tensor())
        };
        let expected = run(operands.clone());
        let meta = |x: &Signal| match (x.shape(), x.dtype()) {
            (Ok(shape), Ok(dtype)) => Signal::meta(shape, dtype),
            _ => x.clone(),
        };
        let (x, offsets, samples) = operands;
        assert_eq!(run((meta(&x), offsets.clone(), samples.clone())), expected);
        assert_eq!(run((meta(&x), offsets.as_ref().map(meta), samples.as_ref().map(meta))), expected);
    }
    let bag = EmbeddingBag::config(4, 5).include_last_offset(true).init(&CPU)?;
    let [x, offsets] = [1 << 60, 1 << 50].map(|count| Signal::meta(count, DType::U32));
    let y = bag.call_with((x, Some(offsets), None), Mode::Eval);
    assert_eq!(y.dims()?, [(1 << 50) - 1, 5]);
    Ok(())
}

#[test]
fn invalid_arguments_are_errors() -> Result<()> {
    let weight = Tensor::ones((4, 3), DType::F32, &CPU)?;
    let run = |ids: &Tensor, bags: Bags| message(embedding_bag(ids, &weight, &bags).into_tensor());
    let flat = Tensor::new(&[0u32, 1, 2], &CPU)?;
    let with_offsets = |offsets: &[i64], include_last_offset: bool| {
        let offsets = Tensor::new(offsets, &CPU).expect("the tensor should be created");
        run(&flat, Bags { offsets: Some(offsets), include_last_offset, ..Bags::default() })
    };
    assert!(with_offsets(&[1, 2], false).contains("expected the first offset to be 0, found 1"));
    assert!(with_offsets(&[0, 2, 1], false).contains("at most 3, the number of ids, found 1 after 2"));
    assert!(with_offsets(&[0, 4], false).contains("found 4 after 0"));
    assert!(with_offsets(&[0, -1], false).contains("found -1 after 0"));
    assert!(
        with_offsets(&[0, 2], true).contains("expected the last offset to be 3, the number of ids, found 2")
    );
    assert!(
        with_offsets(&[], true).contains("expected the last offset to be 3, the number of ids, found none")
    );
    assert!(with_offsets(&[], false).contains("expected the first offset to be 0, found none"));
    let float = Bags { offsets: Some(Tensor::zeros(1, DType::F32, &CPU)?), ..Bags::default() };
    assert!(run(&flat, float).contains("expected offsets [bags] of u8, u32 or i64, found [1] of F32"));

    assert!(run(&flat, Bags::default()).contains("found ids [3] and no offsets"));
    let offsets = Some(Tensor::new(&[0u32], &CPU)?);
    assert!(
        run(&flat.unsqueeze(0)?, Bags { offsets, ..Bags::default() })
            .contains("found ids [1, 3] and offsets [1]")
    );
    let rows = Tensor::new(&[[0i64, 4]], &CPU)?;
    assert!(run(&rows, Bags::default()).contains("index 4 is out of range for 4 embeddings"));
    let negative = Tensor::new(&[[0i64, -4]], &CPU)?;
    assert!(run(&negative, Bags::default()).contains("index -4 is out of range"));
    assert!(
        run(&rows.to_dtype(DType::F32)?, Bags::default())
            .contains("expected ids of u8, u32 or i64, found [1, 2] of F32")
    );

    let rows = Tensor::new(&[[0u32, 1]], &CPU)?;
    let weighted = |shape: (usize, usize), dtype: DType, mode: BagMode| -> Result<String> {
        let per_sample_weights = Some(Tensor::ones(shape, dtype, &CPU)?);
        Ok(run(&rows, Bags { mode, per_sample_weights, ..Bags::default() }))
    };
    assert!(weighted((1, 2), DType::F32, BagMode::Mean)?.contains("only for sums, found the mode Mean"));
    let error = weighted((2, 1), DType::F32, BagMode::Sum)?;
    assert!(error.contains("expected per_sample_weights [1, 2] of F32, found [2, 1] of F32"), "{error}");
    assert!(weighted((1, 2), DType::F64, BagMode::Sum)?.contains("found [1, 2] of F64"));
    let error = run(&rows, Bags { padding: Some(4), ..Bags::default() });
    assert!(error.contains("expected a padding index below 4, the number of embeddings, found 4"), "{error}");
    let vector = weight.flatten_all()?;
    let error = message(embedding_bag(&rows, &vector, &Bags::default()).into_tensor());
    assert!(error.contains("expected a weight [rows, width], found [12]"), "{error}");
    let error = message(EmbeddingBag::config(4, 3).padding_idx(4).init(&CPU).map(drop));
    assert_eq!(error, "EmbeddingBag 4→3: expected a padding_idx below 4, found 4");
    Ok(())
}
