//! Shared helpers: gradient checks by finite differences, random tensors, files.
#![allow(dead_code)] // Each test binary uses only some of these helpers.

mod config;
pub mod conv_case;
pub mod lists;
pub mod magnitude;
pub mod process;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::test_runner::TestCaseError;

#[allow(unused_imports)] // Some test binaries have no property tests.
pub use config::config;
pub use magnitude::values;

/// Runs `run` in a thread pool with `threads` threads.
pub fn on_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("the thread pool should start").install(run)
}

/// Returns the error message of `outcome`. Panics if `outcome` is `Ok`.
#[track_caller]
pub fn message<T>(outcome: std::result::Result<T, impl std::fmt::Display>) -> String {
    outcome.err().expect("expected an error").to_string()
}

/// Calls `run` and returns the operations of each launch, such as `conv2d + bias + relu`.
pub fn operations<E>(
    run: impl FnOnce() -> std::result::Result<Tensor, E>,
) -> std::result::Result<Vec<String>, E> {
    let (result, launches) = sconce_kernels::trace::trace(run);
    result?;
    Ok(launches.into_iter().map(|launch| launch.operations).collect())
}

/// Converts any displayable error to the failure of a property test.
pub fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// A reproducible generator of pseudorandom numbers, uniformly distributed in `[-1, 1)`.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Returns an f64 tensor of the given shape, uniformly distributed in `[-scale, scale)`.
    pub fn tensor(&mut self, shape: &[usize], scale: f64) -> Tensor {
        let data: Vec<f64> = (0..shape.iter().product()).map(|_| self.uniform() * scale).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).expect("the data should match the shape")
    }

    /// Returns an f64 tensor with shuffled entries around zero. The entries differ by at least `gap`, and none
    /// is close to zero, so that no maximum is close to a tie and no input of a ReLU is close to its kink.
    pub fn distinct(&mut self, shape: &[usize], gap: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let mut data: Vec<f64> = (0..count).map(|i| (i as f64 - (count / 2) as f64 + 0.37) * gap).collect();
        for i in (1..count).rev() {
            let j = ((self.uniform() + 1.0) / 2.0 * (i + 1) as f64) as usize;
            data.swap(i, j.min(i));
        }
        Tensor::from_vec(data, shape, &Device::Cpu).expect("the data should match the shape")
    }
}

/// Returns the same values with other strides: in memory, the dimensions are reversed.
pub fn restride(x: &Tensor) -> Result<Tensor> {
    let reversed: Vec<usize> = (0..x.rank()).rev().collect();
    x.permute(reversed.clone())?.contiguous()?.permute(reversed)
}

/// Checks that two tensors have the same shape, and that corresponding entries differ by at most `tolerance ·
/// max(1, |expected|)`. NaN equals NaN, and infinities equal themselves.
pub fn check_close(label: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    if actual.dims() != expected.dims() {
        candle_core::bail!("{label}: expected shape {:?}, found {:?}", expected.dims(), actual.dims());
    }
    for (i, (actual, expected)) in values(actual)?.into_iter().zip(values(expected)?).enumerate() {
        let same = actual == expected || actual.is_nan() && expected.is_nan();
        let close = (actual - expected).abs() <= tolerance * expected.abs().max(1.0);
        if !same && !close {
            candle_core::bail!("{label}: entry {i}: expected {expected}, found {actual}");
        }
    }
    Ok(())
}

/// Checks the gradients of `f` at `inputs` against central differences in f64.
///
/// Multiplies the output by a random tensor and sums the products. The derivative of this sum along random directions
/// of each input must agree with the gradient from `backward`. If a derivative differs, compares the entries of the
/// gradient one by one, so that the error names an entry. `f` must be smooth within 1e-5 of the inputs: keep the inputs
/// away from kinks and ties (see [`Rng::distinct`]).
pub fn check_gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-6;
    const DIRECTIONS: usize = 3;
    let vars =
        inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(DType::F64)?)).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let output = f(&tracked)?;
    let mut numbers = Rng::new(output.elem_count() as u64);
    let output_grad = numbers.tensor(output.dims(), 1.0);
    let project = |output: &Tensor| output.mul(&output_grad)?.sum_all();
    let grads = project(&output)?.backward()?;

    for (index, input) in inputs.iter().enumerate() {
        let Some(grad) = grads.get(&tracked[index]) else {
            candle_core::bail!("input {index}: expected a gradient, found none");
        };
        let derivative = |direction: &Tensor| {
            let shifted = |step: f64| {
                let mut inputs: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
                inputs[index] = (&inputs[index] + (direction * step)?)?;
                project(&f(&inputs)?)?.to_scalar::<f64>()
            };
            Ok::<_, candle_core::Error>((shifted(STEP)? - shifted(-STEP)?) / (2.0 * STEP))
        };
        let entrywise = || {
            let numeric = (0..input.elem_count()).map(|entry| derivative(&unit_vector(input.dims(), entry)?));
            let numeric =
                Tensor::from_vec(numeric.collect::<Result<Vec<_>>>()?, input.dims(), input.device())?;
            check_close(&format!("gradient of input {index}"), grad, &numeric, TOLERANCE)
        };
        if input.elem_count() <= DIRECTIONS {
            entrywise()?;
            continue;
        }
        for _ in 0..DIRECTIONS {
            let direction = numbers.tensor(input.dims(), 1.0);
            let expected = derivative(&direction)?;
            let found = (grad * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let close = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
            if !close {
                entrywise()?;
                candle_core::bail!("input {index}: expected the derivative {expected}, found {found}");
            }
        }
    }
    Ok(())
}

/// Returns a tensor of zeros, with a one at `entry`.
fn unit_vector(shape: &[usize], entry: usize) -> Result<Tensor> {
    let data: Vec<f64> = (0..shape.iter().product()).map(|i| f64::from(i == entry)).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Returns the output of `f` and the gradients of `inputs` for the gradient `output_grad` of the output.
pub fn gradients(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    output_grad: &Tensor,
) -> Result<(Tensor, Vec<Tensor>)> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let output = f(&tracked)?;
    let grads = output.mul(output_grad)?.sum_all()?.backward()?;
    let gradient = |(index, x): (usize, &Tensor)| match grads.get(x) {
        Some(grad) => Ok(grad.clone()),
        None => candle_core::bail!("input {index}: expected a gradient, found none"),
    };
    let gradients = tracked.iter().enumerate().map(gradient).collect::<Result<Vec<_>>>()?;
    Ok((output, gradients))
}

/// Checks the output and the gradients of `f` at `inputs` against those in f64, with a random gradient of the output.
/// The tolerances are those of the output and of the gradients, as for [`check_close`].
pub fn check_against_f64(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    seed: u64,
    [output_tolerance, gradient_tolerance]: [f64; 2],
) -> Result<()> {
    let dtype = inputs[0].dtype();
    let output_grad = Rng::new(seed).tensor(f(inputs)?.dims(), 1.).to_dtype(dtype)?;
    let in_f64 = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
    let (output, input_grads) = gradients(&f, inputs, &output_grad)?;
    let (expected_output, expected_grads) = gradients(&f, &in_f64, &output_grad.to_dtype(DType::F64)?)?;
    if let Some(other) = [&output].into_iter().chain(&input_grads).find(|result| result.dtype() != dtype) {
        candle_core::bail!("expected a result of dtype {dtype:?}, found {:?}", other.dtype());
    }
    check_close("output", &output, &expected_output, output_tolerance)?;
    for (i, (actual, expected)) in input_grads.iter().zip(&expected_grads).enumerate() {
        check_close(&format!("gradient of input {i}"), actual, expected, gradient_tolerance)?;
    }
    Ok(())
}
