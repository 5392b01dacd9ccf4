//! The error of a fused convolution relative to the norm of its sums.

use sconce_kernels::activation::Activation;

/// Returns ‖actual − activation(sums)‖ / max(‖sums‖, √n), where `sums` are the `n` results before the activation, in
/// f64, and the terms of each sum are of order 1.
///
/// The norm of the sums is a suitable scale, because no activation has a slope above 1.5 (that of Hardswish): the
/// error after the activation is at most 1.5 times the error of the sums. The norm of the results is not suitable: most
/// results of `tanh` are close to ±1, however large the sums are, but the results near 0 have the full error of their
/// sums.
pub fn relative_error(actual: &[f32], sums: &[f64], activation: Activation) -> f64 {
    assert_eq!(actual.len(), sums.len());
    let error = norm(actual.iter().zip(sums).map(|(y, x)| f64::from(*y) - activation.value(*x)));
    error / norm(sums.iter().copied()).max((sums.len() as f64).sqrt()).max(1.)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}
