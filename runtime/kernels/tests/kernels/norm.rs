//! Compares batch normalization and softmax with their formulas in f64, and their gradients with finite differences.

use candle_core::{D, DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce_kernels::softmax::{log_softmax, softmax};

use crate::common::{Rng, check_close, check_gradients, config, fail, gradients, restride, values};

/// Returns the mean and the biased variance of each channel, according to the definition.
fn moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let channels = x.transpose(0, 1)?.flatten_from(1)?;
    let mean = channels.mean_keepdim(1)?;
    let variance = channels.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Ok((mean.squeeze(1)?, variance))
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    let tail = prop::collection::vec(1..5usize, 0..4);
    (1..5usize, 1..4usize, tail).prop_map(|(n, c, tail)| [vec![n, c], tail].concat())
}

proptest! {
    // The inputs are large, with up to 82,000 elements.
    #![proptest_config(config(60))]

    #[test]
    fn batch_norm_agrees_with_f64_in_every_dtype(seed: u64, n in 1..40usize, plane in 2..700usize) {
        for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F16, 5e-3), (DType::BF16, 4e-2)] {
            let check = || {
                let mut numbers = Rng::new(seed);
                let x = numbers.tensor(&[n, 3, plane], 2.0).affine(1.0, 1.0)?.to_dtype(dtype)?;
                let output_grad = numbers.tensor(&[n, 3, plane], 1.0).to_dtype(dtype)?;
                let weight = numbers.tensor(&[3], 1.0).to_dtype(DType::F32)?;
                let bias = numbers.tensor(&[3], 1.0).to_dtype(DType::F32)?;
                let norm = |x: &[Tensor]| Ok(batch_norm_train(&x[0], Some(&x[1]), Some(&x[2]), 1e-5)?.0);
                let in_dtype = [x, weight, bias];
                let in_f64 = in_dtype.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
                let (y, grads) = gradients(norm, &in_dtype, &output_grad)?;
                let (f64_y, f64_grads) = gradients(norm, &in_f64, &output_grad.to_dtype(DType::F64)?)?;
                assert_eq!(y.dtype(), dtype);
                check_close("output", &y, &f64_y, tolerance)?;
                for (grad, f64_grad) in grads.iter().zip(&f64_grads) {
                    check_close("gradient", grad, f64_grad, tolerance)?;
                }
                Ok(())
            };
            check().map_err(|e: candle_core::Error| fail(format!("{dtype:?}: {e}")))?;
        }
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn batch_norm_gradients_agree_with_finite_differences(
        shape in shape(), affine: bool, shift in -9.0..9.0f64, seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        let x = numbers.tensor(&shape, 2.0).affine(1.0, shift).map_err(fail)?;
        let parameters = [numbers.tensor(&[shape[1]], 1.0), numbers.tensor(&[shape[1]], 1.0)];
        let mut inputs = vec![x.clone()];
        if affine {
            inputs.extend(parameters);
        }
        if x.elem_count() == shape[1] {
            prop_assert!(batch_norm_train(&x, None, None, 1e-3).is_err());
            return Ok(());
        }
        let check = || {
            let (mean, variance) = moments(&x)?;
            let (y, actual_mean, actual_variance) = batch_norm_train(&restride(&x)?, None, None, 1e-3)?;
            check_close("mean", &actual_mean, &mean, 1e-12)?;
            check_close("variance", &actual_variance, &variance, 1e-12)?;
            check_close("eval", &batch_norm_eval(&x, &mean, &variance, None, None, 1e-3)?, &y, 1e-12)?;
            check_gradients(|x| Ok(batch_norm_train(&restride(&x[0])?, x.get(1), x.get(2), 1e-1)?.0), &inputs)?;
            check_gradients(|x| batch_norm_eval(&restride(&x[0])?, &mean, &variance, x.get(1), x.get(2), 1e-1), &inputs)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn softmax_gradients_agree_with_finite_differences(
        shape in prop::collection::vec(0..6usize, 1..4), axis: usize, seed: u64,
    ) {
        let dim = axis % shape.len();
        let x = Rng::new(seed).tensor(&shape, 3.0);
        let check = || {
            let exponentials = x.exp()?;
            if x.elem_count() > 0 {
                let expected = exponentials.broadcast_div(&exponentials.sum_keepdim(dim)?)?;
                check_close("softmax", &softmax(&x, dim)?, &expected, 1e-12)?;
                check_close("log_softmax", &log_softmax(&x, dim)?, &expected.log()?, 1e-12)?;
            }
            check_gradients(|x| softmax(&restride(&x[0])?, dim), std::slice::from_ref(&x))?;
            check_gradients(|x| log_softmax(&restride(&x[0])?, dim), std::slice::from_ref(&x))
        };
        check().map_err(fail)?;
    }

    #[test]
    fn softmax_agrees_with_f64_in_every_dtype(seed: u64, rows in 0..60usize, row in 1..400usize) {
        for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F16, 4e-3), (DType::BF16, 3e-2)] {
            for op in [softmax::<D>, log_softmax::<D>] {
                let check = || {
                    let x = Rng::new(seed).tensor(&[rows, row], 4.0).to_dtype(dtype)?;
                    let output_grad = Rng::new(seed ^ 1).tensor(&[rows, row], 0.1).to_dtype(dtype)?;
                    let in_f64 = [x.to_dtype(DType::F64)?];
                    let (y, dx) = gradients(|x| op(&x[0], D::Minus1), &[x], &output_grad)?;
                    let output_grad = output_grad.to_dtype(DType::F64)?;
                    let (f64_y, f64_dx) = gradients(|x| op(&x[0], D::Minus1), &in_f64, &output_grad)?;
                    check_close("output", &y, &f64_y, tolerance)?;
                    check_close("gradient", &dx[0], &f64_dx[0], tolerance)
                };
                check().map_err(|e| fail(format!("{dtype:?}: {e}")))?;
            }
        }
    }
}

#[test]
fn statistics_are_accurate_for_a_mean_far_from_zero() -> Result<()> {
    let x = Rng::new(1).tensor(&[64, 2, 30, 30], 1.0).affine(1.0, 1000.0)?.to_dtype(DType::F32)?;
    let (mean, variance) = moments(&x.to_dtype(DType::F64)?)?;
    let (_, actual_mean, actual_variance) = batch_norm_train(&x, None, None, 1e-5)?;
    check_close("mean", &actual_mean, &mean, 1e-6)?;
    check_close("variance", &actual_variance, &variance, 1e-6)
}

#[test]
fn empty_batches_are_supported() -> Result<()> {
    let device = &Device::Cpu;
    let inputs = [Tensor::zeros((0, 3, 4), DType::F32, device)?, Tensor::ones(3, DType::F32, device)?];
    let norm = |x: &[Tensor]| Ok(batch_norm_train(&x[0], Some(&x[1]), None, 1e-5)?.0);
    let (y, grads) = gradients(norm, &inputs, &inputs[0])?;
    assert_eq!(y.dims(), [0, 3, 4]);
    assert_eq!(values(&grads[1])?, [0.0; 3]);
    assert_eq!(softmax(&inputs[0], 1)?.dims(), [0, 3, 4]);
    Ok(())
}

#[test]
fn softmax_of_infinity_and_nan_agrees_with_pytorch() -> Result<()> {
    const INF: f64 = f64::INFINITY;
    let rows = [[1e4, 1e4], [-INF, 0.0], [-INF, -INF], [INF, 0.0], [f64::NAN, 0.0]];
    let x = Tensor::new(&rows, &Device::Cpu)?;
    for dtype in [DType::F32, DType::F64] {
        let y = values(&softmax(&x.to_dtype(dtype)?, 1)?)?;
        assert_eq!(y[..4], [0.5, 0.5, 0.0, 1.0]);
        assert!(y[4..].iter().take(2).all(|y| y.is_nan()), "{y:?}");
        assert!(y[6].is_nan() && y[8..].iter().all(|y| y.is_nan()), "{y:?}");
        let y = values(&log_softmax(&x.to_dtype(dtype)?, 1)?)?;
        assert_eq!(y[2..4], [-INF, 0.0]);
        assert!(y[4].is_nan() && y[6].is_nan() && y[8].is_nan(), "{y:?}");
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu)?;
    let four = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
    let error = batch_norm_train(&x, Some(&four), None, 1e-5).unwrap_err().to_string();
    assert!(error.contains("weight of shape [3], found [4]"), "{error}");
    let error = batch_norm_eval(&x, &four, &four, None, None, 1e-5).unwrap_err().to_string();
    assert!(error.contains("mean of shape [3], found [4]"), "{error}");
    let error = batch_norm_train(&four, None, None, 1e-5).unwrap_err().to_string();
    assert!(error.contains("rank 2 or more, found [4]"), "{error}");
    let error =
        batch_norm_train(&x.narrow(0, 0, 1)?.narrow(2, 0, 1)?, None, None, 1e-5).unwrap_err().to_string();
    assert!(error.contains("more than one value"), "{error}");
    assert!(softmax(&x, 3).is_err());
    assert!(softmax(&x.to_dtype(DType::U32)?, 1).is_err());
    Ok(())
}
