//! The linear layer with a given instruction set, for tests.

use candle_core::{Result, Tensor, bail};

use crate::activation::Activation;
use crate::simd::Isa;

use super::{LinearCache, Sizes, check_shapes, forward, grad_weight, grad_x};

/// Computes [`linear`](super::linear) with the instruction set `isa`, without gradients.
///
/// # Errors
/// Fails if the shapes do not match.
pub fn linear_with(
    isa: Isa,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    cache: Option<&LinearCache>,
) -> Result<Tensor> {
    forward(isa, x, weight, bias, activation, cache)
}

/// Computes the gradients of `x` and `weight` from `grad`, the gradient of `x · weightᵀ`, with the instruction set
/// `isa`.
///
/// # Errors
/// Fails if the shapes do not match.
pub fn gradients_with(isa: Isa, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let Sizes { rows, out_features, .. } = check_shapes(x.dims(), weight.dims(), None)?;
    if grad.dims() != [rows, out_features] {
        bail!("linear: expected a gradient of shape {:?}, found {:?}", [rows, out_features], grad.dims());
    }
    Ok([grad_x(isa, weight, grad)?, grad_weight(isa, x, grad)?])
}
