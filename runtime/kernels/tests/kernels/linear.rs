//! Compares the fused linear kernel with the product in f64, on every instruction set, and its gradients with candle's.
//! The results must not depend on the number of threads.

use candle_core::{DType, Result, Tensor, Var};
use proptest::prelude::*;
use sconce_kernels::LinearCache;
use sconce_kernels::activation::{self, Activation};
use sconce_kernels::testing::{available, gradients_with, isa, linear_with};

use crate::common::lists::ACTIVATIONS;
use crate::common::{Rng, check_close, config, fail, restride, values};

fn operands(sizes: [usize; 3], seed: u64) -> [Tensor; 3] {
    let [rows, in_features, out_features] = sizes;
    let mut numbers = Rng::new(seed);
    let mut tensor =
        |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32).expect("f64 should convert to f32");
    [tensor(&[rows, in_features]), tensor(&[out_features, in_features]), tensor(&[out_features])]
}

/// Computes the layer in f64, with candle's matrix product.
fn reference([x, weight, bias]: &[Tensor; 3], biased: bool, activation: Activation) -> Result<Tensor> {
    let [x, weight, bias] = [x, weight, bias].map(|x| x.to_dtype(DType::F64));
    let y = x?.matmul(&weight?.t()?)?;
    let y = if biased { y.broadcast_add(&bias?)? } else { y };
    activation::apply(activation, &y)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn random_sizes_agree_with_f64(
        rows in prop_oneof![Just(1usize), 1usize..9, 1usize..40, 64usize..150],
        in_features in prop_oneof![1usize..70, 2000usize..4200],
        out_features in prop_oneof![1usize..9, 1usize..150],
        biased: bool,
        strided: bool,
        activation in prop::sample::select(&ACTIVATIONS[..]),
        seed: u64,
    ) {
        let mut all = operands([rows, in_features, out_features], seed);
        let expected = reference(&all, biased, activation).map_err(fail)?;
        if strided {
            all = [restride(&all[0]).map_err(fail)?, restride(&all[1]).map_err(fail)?, all[2].clone()];
        }
        let [x, weight, bias] = &all;
        for isa in available() {
            let cache = LinearCache::default();
            let run = |cache| linear_with(isa, x, weight, biased.then_some(bias), activation, cache).map_err(fail);
            let actual = run(None)?;
            check_close(&format!("{isa:?}"), &actual, &expected, 2e-5 * (in_features as f64).sqrt()).map_err(fail)?;
            // The first call packs the weight, and the second call reads the packed weight.
            for _ in 0..2 {
                prop_assert_eq!(values(&run(Some(&cache))?).map_err(fail)?, values(&actual).map_err(fail)?);
            }
        }
    }
}

/// Returns the gradients of `x · weightᵀ`, as computed by candle in f64.
fn candle_gradients(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let [x, weight] = [x, weight].map(|x| Var::from_tensor(&x.to_dtype(DType::F64)?));
    let (x, weight) = (x?, weight?);
    let loss = (x.matmul(&weight.t()?)? * grad.to_dtype(DType::F64)?)?.sum_all()?;
    let grads = loss.backward()?;
    Ok([&x, &weight].map(|x| grads.get(x).expect("the tensor should have a gradient").clone()))
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn gradients_of_random_sizes_agree_with_candle(
        rows in prop_oneof![1usize..9, 1usize..150],
        in_features in prop_oneof![1usize..70, 1usize..300],
        out_features in prop_oneof![1usize..9, 1usize..200],
        strided: bool,
        seed: u64,
    ) {
        let [mut x, mut weight, _] = operands([rows, in_features, out_features], seed);
        let [mut grad, ..] = operands([rows, out_features, 1], seed ^ 1);
        let expected = candle_gradients(&x, &weight, &grad).map_err(fail)?;
        if strided {
            for tensor in [&mut x, &mut weight, &mut grad] {
                *tensor = restride(tensor).map_err(fail)?;
            }
        }
        for isa in available() {
            let actual = gradients_with(isa, &x, &weight, &grad).map_err(fail)?;
            for (actual, expected) in actual.iter().zip(&expected) {
                // A gradient is a sum of up to 200 products, and √200 ≈ 14.
                check_close(&format!("{isa:?}"), actual, expected, 2e-5 * 14.).map_err(fail)?;
            }
        }
    }
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let [x, weight, _] = operands([130, 300, 210], 4);
    let [grad, ..] = operands([130, 210, 1], 5);
    let run = || -> Result<Vec<f64>> {
        let [grad_x, grad_weight] = gradients_with(isa(), &x, &weight, &grad)?;
        Ok([values(&grad_x)?, values(&grad_weight)?].concat())
    };
    let on_threads = |threads| crate::common::on_threads(threads, run);
    let single = on_threads(1)?;
    assert!(
        crate::common::lists::THREADS
            .into_iter()
            .all(|threads| on_threads(threads).is_ok_and(|other| other == single))
    );
    Ok(())
}

#[test]
fn gradients_of_empty_tensors_are_zero() -> Result<()> {
    for sizes in [[0, 3, 2], [3, 0, 2], [3, 2, 0]] {
        let ([x, weight, _], [grad, ..]) = (operands(sizes, 1), operands([sizes[0], sizes[2], 1], 1));
        let [grad_x, grad_weight] = gradients_with(isa(), &x, &weight, &grad)?;
        assert_eq!((grad_x.dims(), grad_weight.dims()), (x.dims(), weight.dims()));
        let all = [values(&grad_x)?, values(&grad_weight)?].concat();
        assert!(all.iter().all(|x| *x == 0.));
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_on_other_rows() -> Result<()> {
    let [x, weight, bias] = operands([7, 2500, 300], 3);
    let run = |x: &Tensor| linear_with(isa(), x, &weight, Some(&bias), Activation::Relu, None);
    let on_threads = |threads| crate::common::on_threads(threads, || values(&run(&x)?));
    let single = on_threads(1)?;
    assert!([2, 5].into_iter().all(|threads| on_threads(threads).is_ok_and(|other| other == single)));
    for row in 0..7 {
        assert_eq!(values(&run(&x.narrow(0, row, 1)?)?)?, single[row * 300..(row + 1) * 300]);
    }
    Ok(())
}

/// With so many rows, several tasks divide the rows.
#[test]
fn results_of_many_rows_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let [x, weight, bias] = operands([900, 130, 70], 3);
    for cache in [None, Some(LinearCache::default())] {
        let run = || {
            linear_with(isa(), &x, &weight, Some(&bias), Activation::Gelu, cache.as_ref())
                .and_then(|y| values(&y))
        };
        let single = crate::common::on_threads(1, run)?;
        for threads in [2, 5] {
            assert_eq!(crate::common::on_threads(threads, run)?, single);
        }
    }
    Ok(())
}

#[test]
fn nan_propagates() -> Result<()> {
    let [x, weight, _] = operands([2, 33, 9], 1);
    let x = Tensor::cat(&[&x.narrow(0, 0, 1)?, &(x.narrow(0, 1, 1)? * f64::NAN)?], 0)?;
    for isa in available() {
        let y = values(&linear_with(isa, &x, &weight, None, Activation::Relu, None)?)?;
        assert!(y[..9].iter().all(|y| *y >= 0.) && y[9..].iter().all(|y| y.is_nan()), "{isa:?}: {y:?}");
    }
    Ok(())
}
