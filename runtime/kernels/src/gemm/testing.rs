//! Matrix products with a given instruction set, for tests.

use crate::activation::Activation;
use crate::simd::Isa;

use super::{BiasActivation, Matrix, multiply};

/// Returns `activation(a · b + bias)` in row-major order for matrices of `[rows, depth]` and `[depth, columns]`. A
/// transposed matrix is in column-major order.
pub fn multiply_with(
    isa: Isa,
    [a, b]: [&[f32]; 2],
    [rows, depth, columns]: [usize; 3],
    transposed: [bool; 2],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Vec<f32> {
    let a = if transposed[0] { Matrix::new(a, depth, rows).t() } else { Matrix::new(a, rows, depth) };
    let b = if transposed[1] { Matrix::new(b, columns, depth).t() } else { Matrix::new(b, depth, columns) };
    multiply(isa, a, b, BiasActivation { bias, activation })
}
