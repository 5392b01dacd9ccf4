//! Convolution with a given algorithm or instruction set, for tests and benchmarks.

use candle_core::{Result, Tensor};

use crate::activation::Activation;
use crate::simd::Isa;

use super::backward::{self, Gradients, Needs};
use super::cpu::{self, Algorithm, PackedCache, Packing};
use super::{ConvGeometry, ConvShape, Epilogue};

/// Computes [`conv2d`](super::conv2d) on the CPU, without gradients, with the given algorithm and instruction set.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
pub fn conv2d_by(
    algorithm: Algorithm,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    packed: &PackedCache,
    isa: Isa,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    let packing = Packing::by(algorithm, packed, weight.id());
    cpu::conv2d(input, weight, &shape, epilogue, Some(packing), isa)
}

/// Computes [`conv2d`](super::conv2d) on the CPU, without gradients, with the instruction set `isa`.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
pub fn conv2d_with(
    isa: Isa,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    cpu::conv2d(input, weight, &shape, epilogue, None, isa)
}

/// Computes [`conv2d_backward`](backward::conv2d_backward) with the instruction set `isa`. The tensors are
/// `[input, weight, output, grad_output]`.
///
/// # Errors
/// Fails under the same conditions as [`conv2d_backward`](backward::conv2d_backward).
pub fn backward_on(
    isa: Isa,
    tensors: [&Tensor; 4],
    geometry: &ConvGeometry,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    backward::gradients(isa, tensors, geometry, activation, needs)
}
