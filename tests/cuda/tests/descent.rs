//! Compares the CUDA kernels of the optimizers with plain arithmetic in f64.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::kernels::internal::descent::cuda::{AdamStep, SgdStep};
use sconce::kernels::testing::cuda::Target;
use sconce_cuda_tests::run;

use crate::common::config;
use crate::common::lists::DTYPE_ERRORS;

/// A target with few multiprocessors, so that threads process several elements each.
const TARGET: Target = Target { multiprocessors: 1, ..Target::A100 };

/// Returns a tensor of `count` numbers in `low..1`, rounded to `dtype`, and the same rounded numbers in f64.
fn numbers(count: usize, low: f64, seed: usize, dtype: DType) -> Result<(Tensor, Vec<f64>)> {
    let value = |i: usize| {
        let remainder = ((i + 1) * (2 * seed + 7919)) % 10_007;
        low + (1. - low) * remainder as f64 / 10_007.
    };
    let tensor = Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), count, &Device::Cpu)?;
    let tensor = tensor.to_dtype(dtype)?;
    let exact = tensor.to_dtype(DType::F64)?.to_vec1()?;
    Ok((tensor, exact))
}

/// Asserts that the norm of `actual - expected` is at most `bound · (‖expected‖ + √n)`, where `n` is the number of
/// elements. The second term is needed because a result can be a small difference of terms whose magnitude is about 1.
fn assert_close(actual: &Tensor, expected: &[f64], bound: f64) -> Result<()> {
    let actual = actual.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
    let scale = norm(&mut expected.iter().copied()) + (expected.len() as f64).sqrt();
    assert!(error <= bound * scale, "expected a relative error of at most {bound}, found {}", error / scale);
    Ok(())
}

/// Compares a step of SGD with its definition. `buffered` is `true` if there is a momentum buffer.
fn sgd(step: &SgdStep, buffered: bool, count: usize, (dtype, bound): (DType, f64)) -> Result<()> {
    let (parameter, mut p) = numbers(count, -1., 1, dtype)?;
    let (buffer, mut b) = numbers(count, -1., 2, dtype)?;
    let (gradient, g) = numbers(count, -1., 3, dtype)?;
    for i in 0..count {
        let decayed = g[i] + step.decay * p[i];
        b[i] = step.momentum * b[i] + step.share * decayed;
        let direction = match (buffered, step.nesterov) {
            (false, _) => decayed,
            (true, false) => b[i],
            (true, true) => decayed + step.momentum * b[i],
        };
        p[i] -= step.rate * direction;
    }
    let program = step.program(count, dtype, buffered, &TARGET)?;
    let operands = [&parameter, &buffer, &gradient];
    let operands = if buffered { &operands[..] } else { &[&parameter, &gradient] };
    let outcome = run(&program, operands)?;
    assert_close(&outcome.operands[0], &p, bound)?;
    if buffered { assert_close(&outcome.operands[1], &b, bound) } else { Ok(()) }
}

/// Compares a step of Adam with its definition.
fn adam(step: &AdamStep, count: usize, (dtype, bound): (DType, f64)) -> Result<()> {
    let (parameter, mut p) = numbers(count, -1., 1, dtype)?;
    let (mean, mut m) = numbers(count, -1., 2, dtype)?;
    let (square, mut s) = numbers(count, 0.1, 3, dtype)?;
    let (gradient, g) = numbers(count, -1., 4, dtype)?;
    for i in 0..count {
        let decayed = g[i] + step.decay * p[i];
        m[i] = step.keep_mean * m[i] + (1. - step.keep_mean) * decayed;
        s[i] = step.keep_square * s[i] + (1. - step.keep_square) * decayed * decayed;
        p[i] = step.keep * p[i] - step.rate * m[i] / (s[i].sqrt() * step.correction + step.eps);
    }
    let program = step.program(count, dtype, &TARGET)?;
    let outcome = run(&program, &[&parameter, &mean, &square, &gradient])?;
    assert_close(&outcome.operands[0], &p, bound)?;
    assert_close(&outcome.operands[1], &m, bound)?;
    assert_close(&outcome.operands[2], &s, bound)
}

/// Generates counts: zero, one, odd counts, and counts larger than the number of threads.
fn counts() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..4, 4usize..600, Just(32 * 256 + 77)]
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn sgd_steps_agree_with_the_definition(
        numbers in (0.001..0.5f64, 0. ..0.99f64, 0.1..=1f64, 0. ..0.1f64),
        nesterov: bool,
        buffered: bool,
        count in counts(),
        dtype in prop::sample::select(&DTYPE_ERRORS[..]),
    ) {
        let (rate, momentum, share, decay) = numbers;
        let step = SgdStep { rate, momentum, share, decay, nesterov };
        sgd(&step, buffered, count, dtype).expect("the program should run");
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn adam_steps_agree_with_the_definition(
        rates in (0.001..0.5f64, 0. ..0.99f64, 0. ..0.999f64),
        others in (0.5..3f64, 1e-8..1e-3f64, 0.9..=1f64, 0. ..0.1f64),
        count in counts(),
        dtype in prop::sample::select(&DTYPE_ERRORS[..]),
    ) {
        let (rate, keep_mean, keep_square) = rates;
        let (correction, eps, keep, decay) = others;
        let step = AdamStep { rate, keep_mean, keep_square, correction, eps, keep, decay };
        adam(&step, count, dtype).expect("the program should run");
    }
}
