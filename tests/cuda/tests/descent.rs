//! The steps of optimisers: the CUDA kernels against plain arithmetic in f64.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::kernels::internal::descent::cuda::{AdamStep, SgdStep};
use sconce::kernels::testing::cuda::Target;
use sconce_cuda_tests::run;

use crate::common::lists::DTYPE_ERRORS;

/// Few blocks, so that threads take several elements each.
const TARGET: Target = Target { multiprocessors: 1, ..Target::A100 };

/// `count` numbers in `low..1`, of the dtype, and the same in f64.
fn numbers(count: usize, low: f64, seed: usize, dtype: DType) -> Result<(Tensor, Vec<f64>)> {
    let value = |i: usize| {
        let share = ((i + 1) * (2 * seed + 7919)) % 10_007;
        low + (1. - low) * share as f64 / 10_007.
    };
    let tensor = Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), count, &Device::Cpu)?;
    let tensor = tensor.to_dtype(dtype)?;
    let exact = tensor.to_dtype(DType::F64)?.to_vec1()?;
    Ok((tensor, exact))
}

fn close(given: &Tensor, expected: &[f64], bound: f64) -> Result<()> {
    let given = given.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = norm(&mut given.iter().zip(expected).map(|(a, b)| a - b));
    let scale = norm(&mut expected.iter().copied());
    assert!(error <= bound * scale, "relative error {}, at most {bound} expected", error / scale);
    Ok(())
}

fn sgd(how: &SgdStep, buffered: bool, count: usize, (dtype, bound): (DType, f64)) -> Result<()> {
    let (parameter, mut p) = numbers(count, -1., 1, dtype)?;
    let (buffer, mut b) = numbers(count, -1., 2, dtype)?;
    let (gradient, g) = numbers(count, -1., 3, dtype)?;
    for i in 0..count {
        let slope = g[i] + how.decay * p[i];
        b[i] = how.momentum * b[i] + how.share * slope;
        let direction = match (buffered, how.nesterov) {
            (false, _) => slope,
            (true, false) => b[i],
            (true, true) => slope + how.momentum * b[i],
        };
        p[i] -= how.rate * direction;
    }
    let program = how.program(count, dtype, buffered, &TARGET)?;
    let operands = [&parameter, &buffer, &gradient];
    let operands = if buffered { &operands[..] } else { &[&parameter, &gradient] };
    let outcome = run(&program, operands)?;
    close(&outcome.operands[0], &p, bound)?;
    if buffered { close(&outcome.operands[1], &b, bound) } else { Ok(()) }
}

fn adam(how: &AdamStep, count: usize, (dtype, bound): (DType, f64)) -> Result<()> {
    let (parameter, mut p) = numbers(count, -1., 1, dtype)?;
    let (mean, mut m) = numbers(count, -1., 2, dtype)?;
    let (square, mut s) = numbers(count, 0.1, 3, dtype)?;
    let (gradient, g) = numbers(count, -1., 4, dtype)?;
    for i in 0..count {
        let slope = g[i] + how.decay * p[i];
        m[i] = how.keep_mean * m[i] + (1. - how.keep_mean) * slope;
        s[i] = how.keep_square * s[i] + (1. - how.keep_square) * slope * slope;
        p[i] = how.keep * p[i] - how.rate * m[i] / (s[i].sqrt() * how.correction + how.eps);
    }
    let program = how.program(count, dtype, &TARGET)?;
    let outcome = run(&program, &[&parameter, &mean, &square, &gradient])?;
    close(&outcome.operands[0], &p, bound)?;
    close(&outcome.operands[1], &m, bound)?;
    close(&outcome.operands[2], &s, bound)
}

/// Odd counts, none and one, and more than there are threads.
fn counts() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..4, 4usize..600, Just(32 * 256 + 77)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn sgd_steps_as_it_says(
        numbers in (0.001..0.5f64, 0. ..0.99f64, 0.1..=1f64, 0. ..0.1f64),
        nesterov: bool,
        buffered: bool,
        count in counts(),
        dtype in prop::sample::select(&DTYPE_ERRORS[..]),
    ) {
        let (rate, momentum, share, decay) = numbers;
        let how = SgdStep { rate, momentum, share, decay, nesterov };
        sgd(&how, buffered, count, dtype).expect("the program runs");
    }

    #[test]
    #[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
    fn adam_steps_as_it_says(
        rates in (0.001..0.5f64, 0. ..0.99f64, 0. ..0.999f64),
        others in (0.5..3f64, 1e-8..1e-3f64, 0.9..=1f64, 0. ..0.1f64),
        count in counts(),
        dtype in prop::sample::select(&DTYPE_ERRORS[..]),
    ) {
        let (rate, keep_mean, keep_square) = rates;
        let (correction, eps, keep, decay) = others;
        let how = AdamStep { rate, keep_mean, keep_square, correction, eps, keep, decay };
        adam(&how, count, dtype).expect("the program runs");
    }
}
