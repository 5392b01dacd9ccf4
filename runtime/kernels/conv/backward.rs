//! The gradients of a convolution and its epilogue.

use super::ConvGeometry;
use crate::kernels::activation::Activation;
use candle_core::{Result, Tensor, bail};

/// The gradients that were asked for.
pub struct Gradients {
    pub input: Option<Tensor>,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
    pub residual: Option<Tensor>,
}

/// Which gradients to compute.
pub struct Needs {
    pub input: bool,
    pub weight: bool,
    pub bias: bool,
    pub residual: bool,
}

/// The gradients of `output = activation(conv(input, weight) + bias + residual)`.
pub fn conv2d_backward(
    _input: &Tensor,
    _weight: &Tensor,
    _output: &Tensor,
    _grad_output: &Tensor,
    _geometry: &ConvGeometry,
    _activation: Activation,
    _needs: Needs,
) -> Result<Gradients> {
    bail!("conv2d has no backward pass yet")
}
