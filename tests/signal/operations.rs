//! The operations of signals (arithmetic, shapes, sums and products): agreement with candle's operations on plain
//! tensors, and gradients by finite differences.

use candle_core::{D, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::prelude::{Signal, cat, flatten, linear, stack, tanh};

use crate::common::{Rng, check_close, check_gradients, config, fail, restride};

/// Compares the values of a function of signals with `expected`, and its gradients with finite differences.
fn check(
    inputs: &[Tensor],
    f: impl Fn(Vec<Signal>) -> Signal,
    expected: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> std::result::Result<(), TestCaseError> {
    let run = |inputs: &[Tensor]| -> Result<Tensor> {
        Ok(f(inputs.iter().map(|x| restride(x).map(Signal::from)).collect::<Result<_>>()?).into_tensor()?)
    };
    check_close("values", &run(inputs).map_err(fail)?, &expected(inputs).map_err(fail)?, 1e-12)
        .map_err(fail)?;
    check_gradients(run, inputs).map_err(fail)
}

/// Generates two shapes that can be broadcast to a common shape. The second shape may lack leading dimensions.
fn broadcastable_shapes() -> impl Strategy<Value = [Vec<usize>; 2]> {
    let dims = prop::collection::vec((1usize..4, any::<bool>(), any::<bool>()), 1..4);
    (dims, 0usize..3).prop_map(|(dims, missing_dims)| {
        let a: Vec<usize> = dims.iter().map(|(size, is_one, _)| if *is_one { 1 } else { *size }).collect();
        let b: Vec<usize> = dims.iter().map(|(size, _, is_one)| if *is_one { 1 } else { *size }).collect();
        let missing_dims = missing_dims.min(b.len() - 1);
        [a, b[missing_dims..].to_vec()]
    })
}

type Binary = (fn(Signal, Signal) -> Signal, fn(&Tensor, &Tensor) -> Result<Tensor>);

const BINARY: [Binary; 4] = [
    (|a, b| a + b, |a, b| a.broadcast_add(b)),
    (|a, b| a - b, |a, b| a.broadcast_sub(b)),
    (|a, b| a * b, |a, b| a.broadcast_mul(b)),
    (|a, b| a / b, |a, b| a.broadcast_div(b)),
];

type Unary = (fn(Signal) -> Signal, fn(&Tensor) -> Result<Tensor>);

/// Functions of positive numbers.
const UNARY: [Unary; 12] = [
    (|x| x.exp(), |x| x.exp()),
    (|x| x.log(), |x| x.log()),
    (|x| x.sqrt(), |x| x.sqrt()),
    (|x| x.sqr(), |x| x.sqr()),
    (|x| (x - 1.003).abs(), |x| (x - 1.003)?.abs()),
    (|x| x.powf(1.7), |x| x.powf(1.7)),
    (|x| x.clamp(0.6004, 1.3003), |x| x.clamp(0.6004, 1.3003)),
    (|x| -x, |x| x.neg()),
    (|x| x + 2., |x| x + 2.),
    (|x| 2. - x, |x| x.affine(-1., 2.)),
    (|x| 3. * x, |x| x * 3.),
    (|x| 1. / x, |x| x.recip()),
];

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn arithmetic_with_broadcasting_agrees_with_candle(
        [a, b] in broadcastable_shapes(), op in prop::sample::select(&BINARY[..]), seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        // Keep divisors away from zero.
        let inputs = [numbers.tensor(&a, 1.), numbers.tensor(&b, 0.5).affine(1., 1.5).map_err(fail)?];
        check(&inputs, |x| op.0(x[0].clone(), x[1].clone()), |x| op.1(&x[0], &x[1]))?;
    }

    #[test]
    fn elementwise_functions_agree_with_candle(
        shape in prop::collection::vec(0usize..4, 1..4),
        op in prop::sample::select(&UNARY[..]),
        seed: u64,
    ) {
        // The inputs are positive multiples of 0.01. The kinks of the functions lie between such multiples.
        let steps = Rng::new(seed).tensor(&shape, 70.).round().map_err(fail)?;
        let x = steps.affine(0.01, 1.).map_err(fail)?;
        check(&[x], |x| op.0(x[0].clone()), |x| op.1(&x[0]))?;
    }

    #[test]
    fn shape_operations_and_reductions_agree_with_candle(
        shape in prop::array::uniform4(1usize..4), op in 0usize..9, dim in 0usize..4, seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&shape, 1.);
        let [a, b, c, d] = shape;
        check(&[x], |x| {
            let x = x[0].clone();
            match op {
                0 => x.reshape((a * b, c * d)),
                1 => x.transpose(dim, 3 - dim),
                2 => x.permute((3, 1, 0, 2)),
                3 => x.narrow(dim, shape[dim] / 2, shape[dim] - shape[dim] / 2),
                4 => x.unsqueeze(dim).squeeze(dim),
                5 => flatten(x, 1),
                6 => x.sum(dim),
                7 => x.mean(dim),
                _ => x.mean_keepdim(dim),
            }
        }, |x| {
            let x = &x[0];
            match op {
                0 => x.reshape((a * b, c * d)),
                1 => x.transpose(dim, 3 - dim),
                2 => x.permute((3, 1, 0, 2)),
                3 => x.narrow(dim, shape[dim] / 2, shape[dim] - shape[dim] / 2),
                4 => Ok(x.clone()),
                5 => x.flatten_from(1),
                6 => x.sum(dim),
                7 => x.mean(dim),
                _ => x.mean_keepdim(dim),
            }
        })?;
    }

    #[test]
    fn cat_stack_and_chunk_agree_with_candle(
        shape in prop::array::uniform3(1usize..4), dim in 0usize..3, stacked: bool, seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        let inputs = [numbers.tensor(&shape, 1.), numbers.tensor(&shape, 1.)];
        let signed_dim = dim as isize;
        check(&inputs, |x| if stacked { stack(x, signed_dim) } else { cat(x, signed_dim - 3) }, |x| {
            if stacked { Tensor::stack(x, dim) } else { Tensor::cat(x, dim) }
        })?;
        check(&inputs[..1], |x| {
            let parts: Vec<Signal> = x[0].chunk(2, signed_dim - 3);
            cat(parts.into_iter().rev(), signed_dim)
        }, |x| {
            let parts: Vec<Tensor> = x[0].chunk(2, dim)?.into_iter().rev().collect();
            Tensor::cat(&parts, dim)
        })?;
    }

    #[test]
    fn matrix_products_agree_with_candle(
        batch in prop::collection::vec(0usize..3, 0..3), sizes in prop::array::uniform3(1usize..5), seed: u64,
    ) {
        let [rows, inner, columns] = sizes;
        let mut numbers = Rng::new(seed);
        let a = numbers.tensor(&[&batch[..], &[rows, inner]].concat(), 1.);
        let b = numbers.tensor(&[&batch[..], &[inner, columns]].concat(), 1.);
        check(&[a, b], |x| x[0].clone().matmul(x[1].clone()), |x| x[0].contiguous()?.matmul(&x[1].contiguous()?))?;
    }

    #[test]
    fn linear_agrees_with_candle(
        batch in prop::collection::vec(0usize..4, 0..3),
        in_features in 1usize..5,
        out_features in 1usize..5,
        biased: bool,
        activated: bool,
        seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        let x = numbers.tensor(&[&batch[..], &[in_features]].concat(), 1.);
        let mut all = vec![x, numbers.tensor(&[out_features, in_features], 1.)];
        if biased {
            all.push(numbers.tensor(&[out_features], 1.));
        }
        check(&all, |x| {
            let bias = x.get(2).cloned().map(|bias| bias.into_tensor().expect("the bias should be a valid tensor"));
            let y = linear(x[0].clone(), x[1].clone(), bias);
            if activated { tanh(y) } else { y }
        }, |x| {
            let rows = x[0].elem_count() / in_features;
            let y = x[0].reshape((rows, in_features))?;
            let y = y.unsqueeze(1)?.broadcast_mul(&x[1].unsqueeze(0)?)?.sum(D::Minus1)?;
            let y = match x.get(2) {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            };
            let y = y.reshape([&batch[..], &[out_features]].concat())?;
            if activated { y.tanh() } else { Ok(y) }
        })?;
    }
}

#[test]
fn operations_on_integers_fail_without_a_panic() -> Result<()> {
    let x = Signal::from(Tensor::new(&[4u32, 9], &Device::Cpu)?);
    let failed = [
        x.exp(),
        x.log(),
        x.sqrt(),
        x.sqr(),
        x.powf(2.),
        -&x,
        1 / &x,
        &x / 0,
        &x / &x,
        &x * 0.5,
        &x - 1,
        1 - &x,
    ];
    for result in &failed[..4] {
        let message = result.error().map(|error| error.message());
        assert_eq!(message, Some("expected a floating-point input, found U32"));
    }
    assert!(failed.iter().all(|result| result.error().is_some()));
    assert_eq!(x.abs().into_tensor()?.to_vec1::<u32>()?, [4, 9]);
    assert_eq!((&x * 2 + 1).into_tensor()?.to_vec1::<u32>()?, [9, 19]);
    let signed = Signal::from(Tensor::new(&[4i64, 9], &Device::Cpu)?);
    assert_eq!((1 - signed).into_tensor()?.to_vec1::<i64>()?, [-3, -8]);
    Ok(())
}
