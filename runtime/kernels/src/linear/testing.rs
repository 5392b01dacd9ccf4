//! The linear map with a chosen instruction set, for tests.

use super::{Sizes, forward, of_weight, of_x, shape};
use crate::activation::Activation;
use crate::simd::Isa;
use candle_core::{Result, Tensor, bail};

/// Computes [`linear`](super::linear) with the instruction set `isa`, without gradients.
///
/// # Errors
/// The shapes do not fit together.
pub fn linear_with(
    isa: Isa,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    forward(isa, x, weight, bias, activation)
}

/// Computes the gradients of `x` and `weight` from `grad`, the gradient of `x · weightᵀ`, with the
/// instruction set `isa`.
///
/// # Errors
/// The shapes do not fit together.
pub fn gradients_with(isa: Isa, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let Sizes { rows, outputs, .. } = shape(x.dims(), weight.dims(), None)?;
    if grad.dims() != [rows, outputs] {
        bail!("linear: expected a gradient {:?}, got {:?}", [rows, outputs], grad.dims());
    }
    Ok([of_x(isa, weight, grad)?, of_weight(isa, x, grad)?])
}
