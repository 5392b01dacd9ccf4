//! Batch normalisation: the CUDA kernels against the CPU's, in f64, over random shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use sconce::kernels::activation::{Activation, apply};
use sconce::kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce::kernels::testing::cuda::norm::{BatchNormProblem, backward, eval, train};
use sconce_cuda_tests::run;

use crate::common::lists::ACTIVATIONS;
use crate::common::lists::DTYPE_ERRORS;
use crate::common::{Numbers, check_close};

/// An input with what belongs to it, in the dtypes of the kernels.
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
        let mut numbers = Numbers(seed);
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let mut of_channels = |low: f64| numbers.even(&[channels], wide)?.affine(0.5, low + 0.5);
        let parameters = [of_channels(0.2)?, of_channels(-0.5)?];
        let (mean, variance) = (of_channels(-0.5)?, of_channels(0.3)?);
        let [weight, bias] = [(weight, &parameters[0]), (bias, &parameters[1])]
            .map(|(given, parameter)| given.then(|| parameter.clone()));
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
        // Neighbours apart, so that no variance is so small that f32 cannot hold it beside the mean.
        let side = |i: usize| if (i / (channels * plane) + i % plane).is_multiple_of(2) { -0.5 } else { 1.5 };
        let sides: Vec<f64> = (0..samples * channels * plane).map(side).collect();
        let sides = Tensor::from_vec(sides, &shape, &Device::Cpu)?;
        let x = (numbers.even(&shape, DType::F64)?.affine(0.5, 0.)? + sides)?.to_dtype(dtype)?;
        let grad = numbers.even(&shape, dtype)?;
        Ok(Self { norm, x, grad, weight, bias, mean, variance })
    }

    fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// What the CPU makes of the same numbers in f64: the output, then the gradients of input, weight and bias, the
    /// latter two where given, then mean and variance.
    fn reference(&self, of_batch: bool) -> Result<(Tensor, Vec<Tensor>, [Tensor; 2])> {
        let wide = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(DType::F64)?);
        let x = wide(&self.x)?;
        let [weight, bias] = [&self.weight, &self.bias].map(|given| given.as_ref().map(wide).transpose());
        let (weight, bias) = (weight?, bias?);
        let (w, b) = (weight.as_deref(), bias.as_deref());
        let (y, mean, variance) = if of_batch {
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

    fn check_gradients(
        &self,
        of_batch: bool,
        statistics: [&Tensor; 2],
        expected: &[Tensor],
        bound: f64,
    ) -> Result<()> {
        let operands: Vec<&Tensor> =
            [&self.x, &self.grad].into_iter().chain(statistics).chain(self.parameters()).collect();
        let gradients = run(&backward(&self.norm, of_batch, self.x.dtype())?, &operands)?.outputs;
        assert_eq!(gradients.len(), expected.len());
        for (i, (given, expected)) in gradients.iter().zip(expected).enumerate() {
            // Gradients of a normalised input cancel: their errors are relative to what they are the difference of.
            let size = self.grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
            let apart = (given.to_dtype(DType::F64)?.flatten_all()? - expected.flatten_all()?)?;
            let apart = apart.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
            assert!(apart <= bound * 8. * size, "gradient {i}: apart by {apart:e} of {size:e}");
        }
        Ok(())
    }
}

fn shape() -> impl Strategy<Value = [usize; 3]> {
    let plane = prop_oneof![Just(1usize), 2..32usize, 32..80usize, 300..700usize];
    (0..6usize, 1..40usize, plane).prop_map(|(samples, channels, plane)| {
        [samples, if plane > 80 { channels % 5 + 1 } else { channels }, plane]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn training(
        shape in shape(),
        affine: [bool; 2],
        activation in prop::sample::select(&ACTIVATIONS[..]),
        (dtype, bound) in prop::sample::select(&DTYPE_ERRORS[..]),
        seed: u64,
    ) {
        let case = Case::new(shape, affine, activation, seed, dtype)?;
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
        let full = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
        check_close("mean", &outcome.outputs[1], &mean, full)?;
        check_close("variance", &outcome.outputs[2], &variance, full)?;

        let count = (shape[0] * shape[2]) as f64;
        let blended = |running: &Tensor, batch: Tensor| -> Result<Tensor> {
            let running = running.to_dtype(DType::F64)?;
            if count == 0. { Ok(running) } else { running.affine(1. - momentum, 0.)?.add(&(batch * momentum)?) }
        };
        let [running_mean, running_variance] = &outcome.operands[outcome.operands.len() - 2..] else { unreachable!() };
        check_close("running mean", running_mean, &blended(&case.mean, mean)?, full)?;
        let unbiased = (variance * (count / (count - 1.)))?;
        check_close("running variance", running_variance, &blended(&case.variance, unbiased)?, full)?;
        case.check_gradients(true, [&outcome.outputs[1], &outcome.outputs[2]], &gradients, bound)?;
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn evaluation(
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

/// A mean that is large beside the deviations costs no digits but those that f32 cannot hold.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn large_means_are_no_trouble() -> Result<()> {
    for shape in [[4, 2, 900], [700, 3, 1]] {
        let x = Numbers(5).even(&shape, DType::F64)?.affine(1. / 64., 1000.)?.to_dtype(DType::F32)?;
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
        let given = run(&train(&norm, None, DType::F32)?, &[&x])?.outputs;
        let (_, _, variance) = batch_norm_train(&x.to_dtype(DType::F64)?, None, None, 1e-8)?;
        check_close("variance", &given[2], &variance, 1e-2)?;
    }
    Ok(())
}
