//! Tests of the activations: gradients against finite differences, strided inputs, every dtype, and agreement
//! with PyTorch for NaN and infinities.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::activation::{self, Activation};

use crate::common::lists::ACTIVATIONS;
use crate::common::{Rng, check_close, check_gradients, config, fail, gradients, restride, values};

type Op = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

fn ops() -> Vec<(String, Op)> {
    let mut ops: Vec<(String, Op)> = Vec::new();
    let kinds = ACTIVATIONS.into_iter().chain([Activation::LeakyRelu { negative_slope: -0.3 }]);
    for kind in kinds {
        ops.push((format!("{kind:?}"), Box::new(move |x| activation::apply(kind, x))));
    }
    ops.push(("elu".into(), Box::new(|x| activation::elu(x, 1.3))));
    ops.push(("softplus".into(), Box::new(|x| activation::softplus(x, 2.0, 5.0))));
    ops.push(("mish".into(), Box::new(activation::mish)));
    ops.push(("hardsigmoid".into(), Box::new(activation::hardsigmoid)));
    // Every dtype has the thresholds exactly. Otherwise, the slopes of elements near a threshold would differ.
    ops.push(("threshold".into(), Box::new(|x| activation::threshold(x, -0.5, 2.0))));
    ops.push(("softshrink".into(), Box::new(|x| activation::softshrink(x, 0.75))));
    ops.push(("hardshrink".into(), Box::new(|x| activation::hardshrink(x, 0.75))));
    ops.push(("tanhshrink".into(), Box::new(activation::tanhshrink)));
    ops.push(("softsign".into(), Box::new(activation::softsign)));
    ops
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn gradients_agree_with_finite_differences(shape in prop::collection::vec(0..4usize, 0..4), seed: u64) {
        for (name, op) in ops() {
            let x = Rng::new(seed).distinct(&shape, 0.417);
            check_gradients(|x| op(&x[0]), std::slice::from_ref(&x)).map_err(|e| fail(format!("{name}: {e}")))?;
            check_gradients(|x| op(&restride(&x[0])?), &[x]).map_err(|e| fail(format!("{name}: {e}")))?;
        }
    }

    #[test]
    fn every_dtype_agrees_with_f64(count in 0..300usize, seed: u64) {
        for (name, op) in ops() {
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 5e-4), (DType::BF16, 4e-3)] {
                let check = || {
                    let x = Rng::new(seed).tensor(&[count], 8.0).to_dtype(dtype)?;
                    let output_grad = Rng::new(seed ^ 1).tensor(&[count], 1.0).to_dtype(dtype)?;
                    let (y, dx) = gradients(|x| op(&x[0]), std::slice::from_ref(&x), &output_grad)?;
                    let in_f64 = [x.to_dtype(DType::F64)?];
                    let (f64_y, f64_dx) = gradients(|x| op(&x[0]), &in_f64, &output_grad.to_dtype(DType::F64)?)?;
                    assert_eq!(y.dtype(), dtype);
                    check_close("output", &y, &f64_y, tolerance)?;
                    // Some slopes are computed from the rounded output, so the gradient is less exact than the output.
                    check_close("gradient", &dx[0], &f64_dx[0], 4.0 * tolerance)
                };
                check().map_err(|e| fail(format!("{name} {dtype:?}: {e}")))?;
            }
        }
    }

    #[test]
    fn prelu_gradients_agree_with_finite_differences(
        (n, c, plane) in (0..3usize, 1..4usize, prop::collection::vec(0..4usize, 0..3)),
        shared: bool,
        seed: u64,
    ) {
        let mut numbers = Rng::new(seed);
        let shape = [vec![n, c], plane].concat();
        let x = numbers.distinct(&shape, 0.417);
        let weight = numbers.tensor(&[if shared { 1 } else { c }], 1.0);
        check_gradients(|x| activation::prelu(&restride(&x[0])?, &x[1]), &[x, weight]).map_err(fail)?;
    }
}

/// Compares an activation with PyTorch. Each row of `table` is `[input, output, slope]`, as computed by PyTorch.
fn check_table(kind: Activation, table: &[[f64; 3]]) -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for &[x, y, slope] in table {
            let input = [Tensor::new(&[x], &Device::Cpu)?.to_dtype(dtype)?];
            let one = Tensor::ones(1, dtype, &Device::Cpu)?;
            let (output, grads) = gradients(|x| activation::apply(kind, &x[0]), &input, &one)?;
            let label = format!("{kind:?} of {x}");
            check_close(&label, &output, &Tensor::new(&[y], &Device::Cpu)?, 1e-6)?;
            check_close(&label, &grads[0], &Tensor::new(&[slope], &Device::Cpu)?, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn nan_infinity_and_kinks_agree_with_pytorch() -> Result<()> {
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;
    check_table(Activation::Relu, &[[NAN, NAN, 1.0], [INF, INF, 1.0], [-INF, 0.0, 0.0], [0.0, 0.0, 0.0]])?;
    check_table(Activation::Relu6, &[[NAN, NAN, 1.0], [INF, 6.0, 0.0], [6.0, 6.0, 0.0], [0.0, 0.0, 0.0]])?;
    let leaky = Activation::LeakyRelu { negative_slope: 0.5 };
    check_table(leaky, &[[NAN, NAN, 0.5], [-INF, -INF, 0.5], [0.0, 0.0, 0.5], [INF, INF, 1.0]])?;
    check_table(Activation::Silu, &[[NAN; 3], [-INF, NAN, NAN], [0.0, 0.0, 0.5]])?;
    check_table(Activation::Gelu, &[[NAN; 3], [-INF, NAN, NAN], [0.0, 0.0, 0.5]])?;
    check_table(Activation::Sigmoid, &[[NAN; 3], [-INF, 0.0, 0.0], [INF, 1.0, 0.0]])?;
    check_table(Activation::Tanh, &[[NAN; 3], [-INF, -1.0, 0.0], [INF, 1.0, 0.0]])?;
    check_table(Activation::Hardswish, &[[NAN, NAN, 1.0], [-INF, NAN, 0.0], [INF, INF, 1.0]])
}

#[test]
fn a_zero_slope_times_an_infinite_gradient_is_zero() -> Result<()> {
    let x = [Tensor::new(&[-1.0f64, 7.0], &Device::Cpu)?];
    let infinite = Tensor::new(&[f64::INFINITY, f64::INFINITY], &Device::Cpu)?;
    let (_, grads) = gradients(|x| activation::apply(Activation::Relu6, &x[0]), &x, &infinite)?;
    assert_eq!(values(&grads[0])?, [0.0, 0.0]);
    Ok(())
}

/// Compares with the textbook definitions, for inputs from -8 to 8.
#[test]
fn values_agree_with_the_definitions() {
    let sigmoid = |x: f64| 1. / (1. + (-x).exp());
    let normal_cdf = |x: f64| 0.5 * (1. + candle_core::cpu::erf::erf_f64(x / 2f64.sqrt()));
    for i in -80..=80 {
        let x = f64::from(i) / 10.;
        let definitions = [
            (Activation::Identity, x),
            (Activation::Relu, x.max(0.)),
            (Activation::Relu6, x.clamp(0., 6.)),
            (Activation::LeakyRelu { negative_slope: 0.3 }, x.max(0.) + 0.3 * x.min(0.)),
            (Activation::Silu, x * sigmoid(x)),
            (Activation::Gelu, x * normal_cdf(x)),
            (Activation::Sigmoid, sigmoid(x)),
            (Activation::Tanh, x.tanh()),
            (Activation::Hardswish, x * (x + 3.).clamp(0., 6.) / 6.),
        ];
        for (activation, value) in definitions {
            let actual = activation.value(x);
            assert!(
                (actual - value).abs() < 1e-13,
                "{activation:?} of {x}: expected {value}, found {actual}"
            );
        }
    }
}

#[test]
fn scalar_functions_agree_with_tensor_operations() -> Result<()> {
    let x = Rng::new(7).tensor(&[999], 8.0);
    for kind in ACTIVATIONS {
        let (y, slope) =
            gradients(|x| activation::apply(kind, &x[0]), std::slice::from_ref(&x), &x.ones_like()?)?;
        for ((x, y), slope) in values(&x)?.into_iter().zip(values(&y)?).zip(values(&slope[0])?) {
            assert_eq!(kind.value(x), y);
            assert_eq!(kind.slope_from_input(x), slope);
            assert!(kind.slope_from_output(y).is_none_or(|from_output| from_output == slope));
        }
    }
    Ok(())
}

#[test]
fn splitting_a_large_tensor_does_not_change_results() -> Result<()> {
    let x = Rng::new(3).tensor(&[3, 40_001], 5.0).to_dtype(DType::F32)?;
    let whole = activation::apply(Activation::Gelu, &x)?;
    let parts_of_x = [x.narrow(1, 0, 20_000)?, x.narrow(1, 20_000, 20_001)?];
    let parts =
        parts_of_x.iter().map(|x| activation::apply(Activation::Gelu, x)).collect::<Result<Vec<_>>>()?;
    assert_eq!(values(&whole)?, values(&Tensor::cat(&parts, 1)?)?);
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let device = &Device::Cpu;
    let error = activation::apply(Activation::Relu, &Tensor::zeros(3, DType::U8, device)?).unwrap_err();
    assert!(error.to_string().contains("found U8"), "{error}");
    let x = Tensor::zeros((2, 3, 4), DType::F32, device)?;
    let error = activation::prelu(&x, &Tensor::zeros(2, DType::F32, device)?).unwrap_err();
    assert!(error.to_string().contains("3 channels"), "{error}");
    let error = activation::prelu(&x, &Tensor::zeros(3, DType::F64, device)?).unwrap_err();
    assert!(error.to_string().contains("F64"), "{error}");
    Ok(())
}

/// A convolution that tracks gradients fuses an activation only if the activation saves its output.
#[test]
fn activations_save_the_output_if_it_determines_the_slope() {
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { negative_slope: 0.1 },
        Activation::Sigmoid,
        Activation::Tanh,
    ] {
        assert!(activation.saves_output(), "{activation:?}");
    }
    // Two inputs of these activations can have the same output and different slopes.
    for activation in [Activation::Silu, Activation::Gelu, Activation::Hardswish] {
        assert!(!activation.saves_output(), "{activation:?}");
    }
}
