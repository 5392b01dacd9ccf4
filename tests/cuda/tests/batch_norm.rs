//! Compares the CUDA kernels for batch normalization with the CPU kernels in f64, on random shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use sconce::kernels::activation::{Activation, apply};
use sconce::kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce::kernels::testing::cuda::norm::{BatchNormProblem, backward, eval, train};
use sconce_cuda_tests::run;

use crate::common::lists::{ACTIVATIONS, DTYPE_ERRORS};
use crate::common::{Rng, check_close, config};

/// The operands of a batch norm, in the dtypes of the kernels.
struct Case {
    norm: BatchNormProblem,
    x: Tensor,
    grad: Tensor,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    mean: Tensor,
    variance: Tensor,
}

impl Case {
    fn new(
        shape: [usize; 3],
        [weight, bias]: [bool; 2],
        activation: Activation,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        let [samples, channels, plane] = shape;
        let mut numbers = Rng(seed);
        let parameter_dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        // Returns a random number between `low` and `low + 1` for each channel.
        let mut per_channel =
            |low: f64| numbers.uniform(&[channels], parameter_dtype)?.affine(0.5, low + 0.5);
        let parameters = [per_channel(0.2)?, per_channel(-0.5)?];
        let (mean, variance) = (per_channel(-0.5)?, per_channel(0.3)?);
        let [weight, bias] = [(weight, &parameters[0]), (bias, &parameters[1])]
            .map(|(present, parameter)| present.then(|| parameter.clone()));
        let eps = 1e-3;
        let norm = BatchNormProblem {
            samples,
            channels,
            plane,
            weight: weight.is_some(),
            bias: bias.is_some(),
            eps,
            activation,
        };
        // Alternate between two offsets, so that the variance is large enough, relative to the mean, for f32.
        let offset =
            |i: usize| if (i / (channels * plane) + i % plane).is_multiple_of(2) { -0.5 } else { 1.5 };
        let offsets: Vec<f64> = (0..samples * channels * plane).map(offset).collect();
        let offsets = Tensor::from_vec(offsets, &shape, &Device::Cpu)?;
        let x = (numbers.uniform(&shape, DType::F64)?.affine(0.5, 0.)? + offsets)?.to_dtype(dtype)?;
        let grad = numbers.uniform(&shape, dtype)?;
        Ok(Self { norm, x, grad, weight, bias, mean, variance })
    }

    fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// Computes the results on the CPU in f64. Returns the output; the gradients of the input and, if the case has
    /// them, of the weight and the bias; and the mean and the variance.
    fn reference(&self, training: bool) -> Result<(Tensor, Vec<Tensor>, [Tensor; 2])> {
        let wide = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(DType::F64)?);
        let x = wide(&self.x)?;
        let [weight, bias] =
            [&self.weight, &self.bias].map(|parameter| parameter.as_ref().map(wide).transpose());
        let (weight, bias) = (weight?, bias?);
        let (w, b) = (weight.as_deref(), bias.as_deref());
        let (y, mean, variance) = if training {
            batch_norm_train(&x, w, b, self.norm.eps)?
        } else {
            let [mean, variance] = [&self.mean, &self.variance].map(|tensor| tensor.to_dtype(DType::F64));
            let (mean, variance) = (mean?, variance?);
            (batch_norm_eval(&x, &mean, &variance, w, b, self.norm.eps)?, mean, variance)
        };
        let y = apply(self.norm.activation, &y)?;
        let grads = y.mul(&self.grad.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
        let gradient = |var: &Var| grads.get(var).cloned().map_or_else(|| var.zeros_like(), Ok);
        let gradients = [Some(&x), weight.as_ref(), bias.as_ref()].into_iter().flatten().map(gradient);
        Ok((y.detach(), gradients.collect::<Result<_>>()?, [mean, variance]))
    }

    /// Runs the backward program and compares its gradients with `expected`.
    fn check_gradients(
        &self,
        training: bool,
        statistics: [&Tensor; 2],
        expected: &[Tensor],
        bound: f64,
    ) -> Result<()> {
        let operands: Vec<&Tensor> =
            [&self.x, &self.grad].into_iter().chain(statistics).chain(self.parameters()).collect();
        let gradients = run(&backward(&self.norm, training, self.x.dtype())?, &operands)?.outputs;
        assert_eq!(gradients.len(), expected.len());
        for (i, (actual, expected)) in gradients.iter().zip(expected).enumerate() {
            // The terms of these gradients cancel, so the error is compared with the norm of the output gradient.
            let scale = self.grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
            let difference = (actual.to_dtype(DType::F64)?.flatten_all()? - expected.flatten_all()?)?;
            let difference = difference.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
            assert!(
                difference <= bound * 8. * scale,
                "gradient {i}: the difference has norm {difference:e}, the output gradient has norm {scale:e}"
            );
        }
        Ok(())
    }
}

/// Generates shapes `[samples, channels, plane]`. `plane`, the number of pixels of a channel, is one, small or large.
/// If it is large, there are at most five channels.
fn shape() -> impl Strategy<Value = [usize; 3]> {
    let plane = prop_oneof![Just(1usize), 2..32usize, 32..80usize, 300..700usize];
    (0..6usize, 1..40usize, plane).prop_map(|(samples, channels, plane)| {
        [samples, if plane > 80 { channels % 5 + 1 } else { channels }, plane]
    })
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn training_agrees_with_the_cpu(
        shape in shape(),
        affine: [bool; 2],
        activation in prop::sample::select(&ACTIVATIONS[..]),
        (dtype, bound) in prop::sample::select(&DTYPE_ERRORS[..]),
        seed: u64,
    ) {
        let case = Case::new(shape, affine, activation, seed, dtype)?;
        // The unbiased variance of a single value is undefined.
        if shape[0] * shape[2] == 1 {
            return Ok(());
        }
        let (y, gradients, [mean, variance]) = case.reference(true)?;
        let momentum = 0.1;
        let program = train(&case.norm, Some(momentum), dtype)?;
        let operands: Vec<&Tensor> =
            [&case.x].into_iter().chain(case.parameters()).chain([&case.mean, &case.variance]).collect();
        let outcome = run(&program, &operands)?;
        check_close("output", &outcome.outputs[0], &y, bound)?;
        let statistics_bound = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
        check_close("mean", &outcome.outputs[1], &mean, statistics_bound)?;
        check_close("variance", &outcome.outputs[2], &variance, statistics_bound)?;

        let count = (shape[0] * shape[2]) as f64;
        let updated = |running: &Tensor, batch: Tensor| -> Result<Tensor> {
            let running = running.to_dtype(DType::F64)?;
            if count == 0. { Ok(running) } else { running.affine(1. - momentum, 0.)?.add(&(batch * momentum)?) }
        };
        let [running_mean, running_variance] = &outcome.operands[outcome.operands.len() - 2..] else { unreachable!() };
        check_close("running mean", running_mean, &updated(&case.mean, mean)?, statistics_bound)?;
        let unbiased = (variance * (count / (count - 1.)))?;
        check_close("running variance", running_variance, &updated(&case.variance, unbiased)?, statistics_bound)?;
        case.check_gradients(true, [&outcome.outputs[1], &outcome.outputs[2]], &gradients, bound)?;
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn evaluation_agrees_with_the_cpu(
        shape in shape(),
        affine: [bool; 2],
        activation in prop::sample::select(&ACTIVATIONS[..]),
        (dtype, bound) in prop::sample::select(&DTYPE_ERRORS[..]),
        seed: u64,
    ) {
        let case = Case::new(shape, affine, activation, seed, dtype)?;
        let (y, gradients, _) = case.reference(false)?;
        let operands: Vec<&Tensor> =
            [&case.x, &case.mean, &case.variance].into_iter().chain(case.parameters()).collect();
        check_close("output", &run(&eval(&case.norm, dtype)?, &operands)?.outputs[0], &y, bound)?;
        case.check_gradients(false, [&case.mean, &case.variance], &gradients, bound)?;
    }
}

/// The elements of the input are about 1000 and deviate from their mean by about 0.01. The formula
/// mean(x²) − mean(x)² would lose the variance in f32, because it is a difference of two large numbers.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn the_variance_is_accurate_for_a_large_mean() -> Result<()> {
    for shape in [[4, 2, 900], [700, 3, 1]] {
        let x = Rng(5).uniform(&shape, DType::F64)?.affine(1. / 64., 1000.)?.to_dtype(DType::F32)?;
        let [samples, channels, plane] = shape;
        let norm = BatchNormProblem {
            samples,
            channels,
            plane,
            weight: false,
            bias: false,
            eps: 1e-8,
            activation: Activation::Identity,
        };
        let actual = run(&train(&norm, None, DType::F32)?, &[&x])?.outputs;
        let (_, _, variance) = batch_norm_train(&x.to_dtype(DType::F64)?, None, None, 1e-8)?;
        check_close("variance", &actual[2], &variance, 1e-2)?;
    }
    Ok(())
}
