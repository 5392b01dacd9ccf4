//! The activations: gradients by finite differences, strides and dtypes, PyTorch's ends.

use crate::common::lists::{ACTIVATIONS, ACTIVATIONS_BY_OUTPUT};
use crate::common::{Numbers, check_close, check_gradients, config, fail, gradients, restride, values};
use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::kernels::activation::{self, Activation};

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
    ops
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn gradients_agree_with_differences(shape in prop::collection::vec(0..4usize, 0..4), seed: u64) {
        for (name, op) in ops() {
            let x = Numbers::new(seed).distinct(&shape, 0.417);
            check_gradients(|x| op(&x[0]), std::slice::from_ref(&x)).map_err(|e| fail(format!("{name}: {e}")))?;
            check_gradients(|x| op(&restride(&x[0])?), &[x]).map_err(|e| fail(format!("{name}: {e}")))?;
        }
    }

    #[test]
    fn halves_and_singles_round_the_doubles(count in 0..300usize, seed: u64) {
        for (name, op) in ops() {
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 5e-4), (DType::BF16, 4e-3)] {
                let check = || {
                    let x = Numbers::new(seed).tensor(&[count], 8.0).to_dtype(dtype)?;
                    let cotangent = Numbers::new(seed ^ 1).tensor(&[count], 1.0).to_dtype(dtype)?;
                    let (y, dx) = gradients(|x| op(&x[0]), std::slice::from_ref(&x), &cotangent)?;
                    let wide = [x.to_dtype(DType::F64)?];
                    let (wide_y, wide_dx) = gradients(|x| op(&x[0]), &wide, &cotangent.to_dtype(DType::F64)?)?;
                    assert_eq!(y.dtype(), dtype);
                    check_close("output", &y, &wide_y, tolerance)?;
                    // From the rounded output the slope is a little less exact.
                    check_close("gradient", &dx[0], &wide_dx[0], 4.0 * tolerance)
                };
                check().map_err(|e| fail(format!("{name} {dtype:?}: {e}")))?;
            }
        }
    }

    #[test]
    fn prelu_gradients_agree_with_differences(
        (n, c, plane) in (0..3usize, 1..4usize, prop::collection::vec(0..4usize, 0..3)),
        shared: bool,
        seed: u64,
    ) {
        let mut numbers = Numbers::new(seed);
        let shape = [vec![n, c], plane].concat();
        let x = numbers.distinct(&shape, 0.417);
        let weight = numbers.tensor(&[if shared { 1 } else { c }], 1.0);
        check_gradients(|x| activation::prelu(&restride(&x[0])?, &x[1]), &[x, weight]).map_err(fail)?;
    }
}

/// `[input, output, gradient of the input for a gradient of 1]` as PyTorch gives them.
fn check_ends(kind: Activation, table: &[[f64; 3]]) -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for &[x, y, slope] in table {
            let input = [Tensor::new(&[x], &Device::Cpu)?.to_dtype(dtype)?];
            let one = Tensor::ones(1, dtype, &Device::Cpu)?;
            let (output, grads) = gradients(|x| activation::apply(kind, &x[0]), &input, &one)?;
            let what = format!("{kind:?} of {x}");
            check_close(&what, &output, &Tensor::new(&[y], &Device::Cpu)?, 1e-6)?;
            check_close(&what, &grads[0], &Tensor::new(&[slope], &Device::Cpu)?, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn nan_infinities_and_kinks_are_pytorchs() -> Result<()> {
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;
    check_ends(Activation::Relu, &[[NAN, NAN, 1.0], [INF, INF, 1.0], [-INF, 0.0, 0.0], [0.0, 0.0, 0.0]])?;
    check_ends(Activation::Relu6, &[[NAN, NAN, 1.0], [INF, 6.0, 0.0], [6.0, 6.0, 0.0], [0.0, 0.0, 0.0]])?;
    let leaky = Activation::LeakyRelu { negative_slope: 0.5 };
    check_ends(leaky, &[[NAN, NAN, 0.5], [-INF, -INF, 0.5], [0.0, 0.0, 0.5], [INF, INF, 1.0]])?;
    check_ends(Activation::Silu, &[[NAN; 3], [-INF, NAN, NAN], [0.0, 0.0, 0.5]])?;
    check_ends(Activation::Gelu, &[[NAN; 3], [-INF, NAN, NAN], [0.0, 0.0, 0.5]])?;
    check_ends(Activation::Sigmoid, &[[NAN; 3], [-INF, 0.0, 0.0], [INF, 1.0, 0.0]])?;
    check_ends(Activation::Tanh, &[[NAN; 3], [-INF, -1.0, 0.0], [INF, 1.0, 0.0]])?;
    check_ends(Activation::Hardswish, &[[NAN, NAN, 1.0], [-INF, NAN, 0.0], [INF, INF, 1.0]])
}

#[test]
fn a_flat_piece_stops_an_infinite_gradient() -> Result<()> {
    let x = [Tensor::new(&[-1.0f64, 7.0], &Device::Cpu)?];
    let infinite = Tensor::new(&[f64::INFINITY, f64::INFINITY], &Device::Cpu)?;
    let (_, grads) = gradients(|x| activation::apply(Activation::Relu6, &x[0]), &x, &infinite)?;
    assert_eq!(values(&grads[0])?, [0.0, 0.0]);
    Ok(())
}

/// The definitions as they are in textbooks, which need not be exact for large numbers.
#[test]
fn values_are_the_definitions() {
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
            let got = activation.value(x);
            assert!((got - value).abs() < 1e-13, "{activation:?} of {x}: {got}, expected {value}");
        }
    }
}

#[test]
fn scalars_agree_with_tensors() -> Result<()> {
    let x = Numbers::new(7).tensor(&[999], 8.0);
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
fn large_tensors_are_cut_without_a_seam() -> Result<()> {
    let x = Numbers::new(3).tensor(&[3, 40_001], 5.0).to_dtype(DType::F32)?;
    let whole = activation::apply(Activation::Gelu, &x)?;
    let halves = [x.narrow(1, 0, 20_000)?, x.narrow(1, 20_000, 20_001)?];
    let parts = halves.iter().map(|x| activation::apply(Activation::Gelu, x)).collect::<Result<Vec<_>>>()?;
    assert_eq!(values(&whole)?, values(&Tensor::cat(&parts, 1)?)?);
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let device = &Device::Cpu;
    let error = activation::apply(Activation::Relu, &Tensor::zeros(3, DType::U8, device)?).unwrap_err();
    assert!(error.to_string().contains("got U8"), "{error}");
    let x = Tensor::zeros((2, 3, 4), DType::F32, device)?;
    let error = activation::prelu(&x, &Tensor::zeros(2, DType::F32, device)?).unwrap_err();
    assert!(error.to_string().contains("3 channels"), "{error}");
    let error = activation::prelu(&x, &Tensor::zeros(3, DType::F64, device)?).unwrap_err();
    assert!(error.to_string().contains("F64"), "{error}");
    Ok(())
}

#[test]
fn the_activations_by_output_are_all_there_are() {
    let by_output: Vec<Activation> = ACTIVATIONS.into_iter().filter(|kind| kind.saves_output()).collect();
    assert_eq!(by_output, ACTIVATIONS_BY_OUTPUT);
}
