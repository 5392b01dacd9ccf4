//! Compares the CUDA kernels for pooling with the CPU kernels in f64, on random windows.

use candle_core::{DType, Result, Tensor, Var};
use proptest::prelude::*;
use sconce::kernels::pool::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};
use sconce::kernels::testing::cuda::pool::{
    Divisor, PoolProblem, average, average_backward, max, max_backward,
};
use sconce_cuda_tests::run;

use crate::common::lists::DTYPE_ERRORS;
use crate::common::{Rng, check_close, config};

/// The output and the input gradient, computed on the CPU in f64.
struct Reference {
    y: Tensor,
    dx: Tensor,
}

/// Returns the output of `pool` and the gradient of `x` for the output gradient `grad`.
fn reference(x: &Tensor, grad: &Tensor, pool: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Reference> {
    let x = Var::from_tensor(&x.to_dtype(DType::F64)?)?;
    let y = pool(&x)?;
    let grads = y.mul(&grad.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
    let dx = match grads.get(&x) {
        Some(dx) => dx.clone(),
        None => x.zeros_like()?,
    };
    Ok(Reference { y: y.detach(), dx })
}

fn check_max(pool: &PoolProblem, x: &Tensor, grad: &Tensor, expected: &Reference, bound: f64) -> Result<()> {
    let dtype = x.dtype();
    let y = run(&max(pool, dtype)?, &[x])?.outputs.remove(0);
    // A maximum is an element of the input, so it is exact.
    check_close("maxima", &y, &expected.y, 0.)?;
    let y = y.reshape(grad.shape())?;
    let dx = run(&max_backward(pool, dtype)?, &[x, &y, grad])?.outputs.remove(0);
    check_close("gradient of the maxima", &dx, &expected.dx, bound)
}

fn check_average(
    pool: &PoolProblem,
    divisor: Divisor,
    x: &Tensor,
    grad: &Tensor,
    expected: &Reference,
    bound: f64,
) -> Result<()> {
    let y = run(&average(pool, divisor, x.dtype())?, &[x])?.outputs.remove(0);
    check_close("means", &y, &expected.y, bound)?;
    let dx = run(&average_backward(pool, divisor, x.dtype())?, &[grad])?.outputs.remove(0);
    check_close("gradient of the means", &dx, &expected.dx, bound)
}

/// Generates kernel, stride, padding, dilation and input size of one axis.
fn axis() -> impl Strategy<Value = [usize; 5]> {
    (1..8usize, 1..5usize, 1..4usize, 1..14usize).prop_flat_map(|(kernel, stride, dilation, input)| {
        (0..=kernel / 2).prop_map(move |padding| [kernel, stride, padding, dilation, input])
    })
}

/// Returns the geometry and the input size of a pooling. `rows` and `columns` have the form that [`axis`] generates.
fn windows([rows, columns]: [[usize; 5]; 2], ceil_mode: bool) -> (PoolGeometry, [usize; 2]) {
    let [kernel, stride, padding, dilation, input] = std::array::from_fn(|i| [rows[i], columns[i]]);
    (PoolGeometry { kernel, stride, padding, dilation, ceil_mode }, input)
}

/// Returns an input of shape `shape` and an output gradient.
fn inputs(shape: &[usize], output: [usize; 2], seed: u64, dtype: DType) -> Result<(Tensor, Tensor)> {
    let mut numbers = Rng(seed);
    // Half of the cases have small integers, so that a window may contain its maximum several times.
    let x = if seed.is_multiple_of(2) {
        numbers.integers(shape, dtype)?
    } else {
        numbers.uniform(shape, dtype)?
    };
    let grad = numbers.uniform(&[&shape[..2], &output].concat(), dtype)?;
    Ok((x, grad))
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn windows_of_fixed_size_agree_with_the_cpu(
        axes in [axis(), axis()],
        ceil_mode: bool,
        batch in 0..3usize,
        channels in 1..4usize,
        (dtype, bound) in prop::sample::select(&DTYPE_ERRORS[..]),
        divisor in prop::sample::select(&[Divisor::Elements, Divisor::ElementsAndPadding, Divisor::Fixed(5)][..]),
        seed: u64,
    ) {
        let (mut geometry, input) = windows(axes, ceil_mode);
        let shape = [batch, channels, input[0], input[1]];
        if let Ok(pool) = PoolProblem::new(batch * channels, input, geometry) {
            let (x, grad) = inputs(&shape, pool.output, seed, dtype)?;
            let expected = reference(&x, &grad, |x| max_pool2d(x, &geometry))?;
            check_max(&pool, &x, &grad, &expected, bound)?;
        }
        // Average pooling has no dilation.
        geometry.dilation = [1; 2];
        if let Ok(pool) = PoolProblem::new(batch * channels, input, geometry) {
            let (x, grad) = inputs(&shape, pool.output, seed, dtype)?;
            let (padded, fixed) = match divisor {
                Divisor::Elements => (false, None),
                Divisor::ElementsAndPadding => (true, None),
                Divisor::Fixed(divisor) => (false, Some(divisor)),
            };
            let expected = reference(&x, &grad, |x| avg_pool2d(x, &geometry, padded, fixed))?;
            check_average(&pool, divisor, &x, &grad, &expected, bound)?;
        }
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn adaptive_windows_agree_with_the_cpu(
        input in [1..15usize, 1..15usize],
        output in [1..9usize, 1..9usize],
        batch in 0..3usize,
        channels in 1..4usize,
        (dtype, bound) in prop::sample::select(&DTYPE_ERRORS[..]),
        seed: u64,
    ) {
        let pool = PoolProblem::adaptive(batch * channels, input, output);
        let (x, grad) = inputs(&[batch, channels, input[0], input[1]], output, seed, dtype)?;
        let size = output.map(Some);
        check_max(&pool, &x, &grad, &reference(&x, &grad, |x| adaptive_max_pool2d(x, size))?, bound)?;
        let expected = reference(&x, &grad, |x| adaptive_avg_pool2d(x, size))?;
        check_average(&pool, Divisor::Elements, &x, &grad, &expected, bound)?;
    }

    /// NaN propagates, and the last NaN of a window gets the gradient.
    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn nan_propagates(axes in [axis(), axis()], nans in prop::collection::vec(0..196usize, 1..6), seed: u64) {
        let (geometry, input) = windows(axes, false);
        if let Ok(pool) = PoolProblem::new(1, input, geometry) {
            let (x, grad) = inputs(&[1, 1, input[0], input[1]], pool.output, seed, DType::F32)?;
            let mut values = x.flatten_all()?.to_vec1::<f32>()?;
            let count = values.len();
            nans.iter().for_each(|index| values[index % count] = f32::NAN);
            let x = Tensor::from_vec(values, x.shape(), x.device())?;
            let expected = reference(&x, &grad, |x| max_pool2d(x, &geometry))?;
            check_max(&pool, &x, &grad, &expected, 1e-5)?;
        }
    }
}

/// Uses windows so large that a whole warp computes one window.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn global_windows_agree_with_the_cpu() -> Result<()> {
    for (dtype, bound) in DTYPE_ERRORS {
        for input in [[1, 32], [7, 7], [23, 31], [56, 56]] {
            let pool = PoolProblem::adaptive(6, input, [1, 1]);
            let (x, grad) = inputs(&[2, 3, input[0], input[1]], [1, 1], 3, dtype)?;
            let size = [Some(1); 2];
            let expected = reference(&x, &grad, |x| adaptive_max_pool2d(x, size))?;
            check_max(&pool, &x, &grad, &expected, bound)?;
            let expected = reference(&x, &grad, |x| adaptive_avg_pool2d(x, size))?;
            check_average(&pool, Divisor::Elements, &x, &grad, &expected, bound)?;
        }
    }
    Ok(())
}

#[test]
fn unsupported_problems_are_errors() -> Result<()> {
    let mut geometry = PoolGeometry::new([2, 2]);
    geometry.stride = [1 << 40, 1];
    let pool = PoolProblem::new(1, [2, 2], geometry)?;
    assert!(max(&pool, DType::F32).is_ok(), "a stride that has no effect should be allowed");
    assert!(max(&PoolProblem::adaptive(1, [1 << 16, 1 << 16], [1, 1]), DType::F32).is_err());
    assert!(max(&pool, DType::U8).is_err());
    assert!(average(&pool, Divisor::Fixed(0), DType::F32).is_err());
    geometry.dilation = [1, 2];
    let pool = PoolProblem::new(1, [2, 3], geometry)?;
    assert!(average(&pool, Divisor::Elements, DType::F32).is_err());
    Ok(())
}
