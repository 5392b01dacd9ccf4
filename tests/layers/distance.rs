//! Cosine similarity and pairwise distance: agreement with their definitions, gradients by finite differences, dtypes,
//! vectors of norm 0, invalid arguments.

use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{
    Rng, check_against_f64, check_close, check_gradients, config, fail, gradients, message, restride, values,
};

/// Turns a function of two signals into a function of tensors. The inputs get other strides before `op` reads them.
fn on_tensors(op: impl Fn(Signal, Signal) -> Signal) -> impl Fn(&[Tensor]) -> candle::Result<Tensor> {
    move |x| Ok(op(restride(&x[0])?.into(), restride(&x[1])?.into()).into_tensor()?)
}

/// Generates the shapes of two inputs and the shape to which they are broadcast.
fn shapes() -> impl Strategy<Value = [Vec<usize>; 3]> {
    let sizes = prop::collection::vec((1..4usize, 0..3usize), 1..5);
    (sizes, 0..4usize).prop_map(|(sizes, missing)| {
        // The second input lacks some leading dimensions.
        let missing = missing.min(sizes.len() - 1);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (i, &(size, kind)) in sizes.iter().enumerate() {
            first.push(if kind == 1 && i >= missing { 1 } else { size });
            if i >= missing {
                second.push(if kind == 2 { 1 } else { size });
            }
        }
        [first, second, sizes.into_iter().map(|(size, _)| size).collect()]
    })
}

/// Returns two inputs whose elements, and the differences of these, are not near 0 and have no magnitudes that are
/// almost equal: the elements of the first are `k + 0.37` for integers k, and those of the second are below 0.1.
fn inputs(first: &[usize], second: &[usize], seed: u64) -> [Tensor; 2] {
    let mut numbers = Rng::new(seed);
    [numbers.distinct(first, 1.), numbers.tensor(second, 0.1)]
}

/// Splits a tensor into its vectors along a dimension.
fn vectors(x: &Tensor, dim: usize) -> Result<Vec<Vec<f64>>> {
    let size = x.dim(dim)?;
    let last_dim_moved: Vec<usize> = (0..x.rank()).filter(|i| *i != dim).chain([dim]).collect();
    Ok(values(&x.permute(last_dim_moved)?)?.chunks(size).map(<[f64]>::to_vec).collect())
}

fn norm(x: &[f64], p: f64) -> f64 {
    if p.is_infinite() {
        return x.iter().fold(0., |norm, x| norm.max(x.abs()));
    }
    x.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1. / p)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn cosine_similarity_agrees_with_its_definition(
        [first, second, shape] in shapes(), dim in 0..4usize, from_end: bool,
        eps in prop_oneof![Just(1e-8), Just(0.01)],
        seed: u64,
    ) {
        let check = || -> Result<()> {
            let dim = dim % shape.len();
            let signed = dim as isize - if from_end { shape.len() as isize } else { 0 };
            let [x1, x2] = inputs(&first, &second, seed);
            // Keeps the norm of each vector above `eps`.
            let x2 = (x2 + 0.5)?;
            let op = on_tensors(|x1, x2| cosine_similarity(x1, x2, signed, eps));
            let y = op(&[x1.clone(), x2.clone()])?;
            let mut expected = Vec::new();
            let pairs = [&x1, &x2].map(|x| vectors(&x.broadcast_as(&shape[..])?, dim));
            let [first, second] = pairs;
            for (a, b) in first?.iter().zip(&second?) {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                expected.push(product / norm(a, 2.) / norm(b, 2.));
            }
            let mut shape = shape.clone();
            shape.remove(dim);
            check_close("output", &y, &Tensor::from_vec(expected, shape, &Device::Cpu)?, 1e-12)?;
            Ok(check_gradients(op, &[x1, x2])?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn pairwise_distance_agrees_with_its_definition(
        [first, second, shape] in shapes(), eps in prop_oneof![Just(1e-6), Just(0.01)], keepdim: bool,
        p in prop_oneof![Just(0.5), Just(1.), Just(1.7), Just(2.), Just(3.), Just(f64::INFINITY)], seed: u64,
    ) {
        let check = || -> Result<()> {
            let [x1, x2] = inputs(&first, &second, seed);
            let op = on_tensors(|x1, x2| pairwise_distance(x1, x2, p, eps, keepdim));
            let y = op(&[x1.clone(), x2.clone()])?;
            let difference = (x1.broadcast_sub(&x2)? + eps)?;
            let expected = vectors(&difference, shape.len() - 1)?.iter().map(|x| norm(x, p)).collect::<Vec<_>>();
            let mut shape = shape.clone();
            shape.pop();
            if keepdim {
                shape.push(1);
            }
            check_close("output", &y, &Tensor::from_vec(expected, shape, &Device::Cpu)?, 1e-12)?;
            Ok(check_gradients(op, &[x1, x2])?)
        };
        check().map_err(|error| fail(format!("p = {p}: {error}")))?;
    }

    #[test]
    fn every_dtype_agrees_with_f64(n in 1..4usize, features in 1..40usize, seed: u64) {
        type Function = fn(Signal, Signal) -> Signal;
        let functions: [(&str, Function); 2] = [
            ("cosine_similarity", |x1, x2| cosine_similarity(x1, x2, 1, 1e-8)),
            ("pairwise_distance", |x1, x2| pairwise_distance(x1, x2, 2., 1e-6, false)),
        ];
        for (name, function) in functions {
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 2e-3), (DType::BF16, 1.6e-2)] {
                let check = || -> Result<()> {
                    let op = on_tensors(function);
                    // The square of 300 is not finite in f16.
                    let x = inputs(&[n, features], &[n, features], seed);
                    let x = x.iter().map(|x| x.affine(300. / features as f64, 1.)?.to_dtype(dtype));
                    let x = x.collect::<candle::Result<Vec<_>>>()?;
                    Ok(check_against_f64(op, &x, seed ^ 1, [tolerance; 2])?)
                };
                check().map_err(|error| fail(format!("{name} {dtype:?}: {error}")))?;
            }
        }
    }
}

/// PyTorch's values and gradients.
#[test]
fn vectors_of_norm_0_agree_with_pytorch() -> Result<()> {
    let zeros = Tensor::zeros((1, 3), DType::F64, &Device::Cpu)?;
    let ones = zeros.ones_like()?;
    let output_grad = Tensor::ones(1, DType::F64, &Device::Cpu)?;
    let op = on_tensors(|x1, x2| cosine_similarity(x1, x2, 1, 1e-8));
    let (y, dx) = gradients(op, &[zeros.clone(), ones.clone()], &output_grad)?;
    check_close("output", &y, &y.zeros_like()?, 0.)?;
    check_close("gradient of the zeros", &dx[0], &(&ones * (1e8 / 3f64.sqrt()))?, 1e-12)?;
    check_close("gradient of the ones", &dx[1], &zeros, 0.)?;
    // The norm 0.1 is less than `eps`, but its slope is part of the gradient.
    let op = on_tensors(|x1, x2| cosine_similarity(x1, x2, 1, 1.));
    let (y, dx) = gradients(op, &[(&ones * (0.1 / 3f64.sqrt()))?, ones.clone()], &output_grad)?;
    check_close("output", &y, &(y.ones_like()? * 0.1)?, 1e-12)?;
    check_close("gradient of the short vector", &dx[0], &(&ones * (0.9 / 3f64.sqrt()))?, 1e-12)?;

    for p in [0.5, 1., 1.7, 2., 3., f64::INFINITY] {
        let op = on_tensors(|x1, x2| pairwise_distance(x1, x2, p, 0., false));
        let (y, dx) = gradients(op, &[ones.clone(), ones.clone()], &output_grad)?;
        check_close("distance", &y, &y.zeros_like()?, 0.)?;
        check_close("gradient", &dx[0], &zeros, 0.)?;
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = |dims: &[usize]| Signal::from(Tensor::zeros(dims, DType::F32, &Device::Cpu));
    let half = Tensor::zeros((2, 3), DType::F16, &Device::Cpu)?;
    for (signal, part) in [
        (cosine_similarity(x(&[2, 3]), x(&[2, 3]), 2, 1e-8), "dimension 2 is out of range"),
        (cosine_similarity(x(&[2, 3]), x(&[2, 4]), 1, 1e-8), "[2, 3]"),
        (cosine_similarity(x(&[2, 3]), &half, 1, 1e-8), "one floating-point dtype, found F32 and F16"),
        (pairwise_distance(x(&[2, 3]), x(&[2, 4]), 2., 0., false), "[2, 3]"),
        (pairwise_distance(x(&[2, 3]), x(&[2, 3]), 0., 0., false), "expected a p greater than 0, found 0"),
        (pairwise_distance(x(&[]), x(&[]), 2., 0., false), "expected inputs […, features]"),
    ] {
        let message = signal.error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    let error = message(PairwiseDistance::config().p(-1.).init(&Device::Cpu));
    assert_eq!(error, "PairwiseDistance: expected a p greater than 0, found -1");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x1, x2| (similarity(x1, x2), distance(x1, x2)))]
struct Compare {
    #[layer(dim = -1)]
    similarity: CosineSimilarity,
    #[layer(p = 1., keepdim = true)]
    distance: PairwiseDistance,
}

#[test]
fn layers_work_as_fields_and_print_as_in_pytorch() -> Result<()> {
    let compare = Compare::new(&Device::Cpu)?;
    let x = Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?;
    let (similarity, distance) = compare.forward(&x, x.narrow(0, 0, 1)?)?;
    assert_eq!((similarity.dims(), distance.dims()), (&[2, 3][..], &[2, 3, 1][..]));
    let expected = "Compare(\n  (similarity): CosineSimilarity()\n  (distance): PairwiseDistance()\n)";
    assert_eq!(compare.to_string(), expected);
    Ok(())
}
