//! The batch sizes of packed sequences.

use candle_core::{DType, Device, Result, Tensor};
use sconce_kernels::internal::without_backtrace;
use sconce_kernels::recurrent::{Recurrence, RecurrentWeights, run_packed};

/// Runs sequences of ones, whose state is the number of steps: `h' = max(1 + h, 0)`.
fn count_steps(rows: usize, batch: usize, batch_sizes: &[usize], reverse: bool) -> Result<[Vec<f32>; 2]> {
    let ones = |dims: (usize, usize)| Tensor::ones(dims, DType::F32, &Device::Cpu);
    let weight = ones((1, 1))?;
    let weights = RecurrentWeights { weight: &weight, bias: None, projection: None };
    let state = ones((batch, 1))?.zeros_like()?;
    let (y, state) =
        run_packed(Recurrence::Relu, &ones((rows, 1))?, batch_sizes, &weights, &[state], reverse)?;
    Ok([y.flatten_all()?.to_vec1()?, state[0].flatten_all()?.to_vec1()?])
}

#[test]
fn a_projection_of_a_gru_is_an_error() -> Result<()> {
    let zeros = |dims: (usize, usize)| Tensor::zeros(dims, DType::F32, &Device::Cpu);
    let (weight, projection) = (zeros((6, 1))?, zeros((1, 2))?);
    let weights = RecurrentWeights { weight: &weight, bias: None, projection: Some(&projection) };
    let outcome = run_packed(Recurrence::Gru, &zeros((1, 6))?, &[1], &weights, &[zeros((1, 1))?], false);
    let error = outcome.expect_err("expected an error");
    assert_eq!(without_backtrace(&error).to_string(), "Gru: expected no projection, found one");
    Ok(())
}

#[test]
fn the_last_steps_may_have_no_sequences() -> Result<()> {
    assert_eq!(count_steps(3, 2, &[2, 1, 0, 0], false)?, [vec![1., 1., 2.], vec![2., 1.]]);
    assert_eq!(count_steps(3, 2, &[2, 1, 0, 0], true)?, [vec![2., 1., 1.], vec![2., 1.]]);
    Ok(())
}

#[test]
fn invalid_batch_sizes_are_errors() {
    let error = |batch_sizes: &[usize], reverse| {
        let error = count_steps(3, 2, batch_sizes, reverse).expect_err("expected an error");
        without_backtrace(&error).to_string()
    };
    for (batch_sizes, expected) in [
        (&[1, 2][..], "Relu: expected batch sizes that never increase, found [1, 2]"),
        (&[0, 3], "Relu: expected batch sizes that never increase, found [0, 3]"),
        (&[2, 2], "Relu: expected inputs [4, gates · hidden], found [3, 1]"),
        (&[2], "Relu: expected inputs [2, gates · hidden], found [3, 1]"),
        (&[], "Relu: expected a sequence of one step or more, found none"),
        (&[3], "Relu: expected a hidden state of shape [3, 1], found [2, 1]"),
    ] {
        for reverse in [false, true] {
            assert_eq!(error(batch_sizes, reverse), expected);
        }
    }
    let error = error(&[usize::MAX, 1], false);
    assert!(error.starts_with("Relu: expected batch sizes with a sum below 2^64"), "{error}");
}
