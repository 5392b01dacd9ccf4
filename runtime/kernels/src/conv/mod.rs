//! Convolution + batch norm or bias + residual + activation, as one kernel.
//!
//! [`conv2d`] checks its operands (`shape`) and takes one of four ways: the fused kernels of the CPU (`cpu`) or
//! of a GPU (`cuda`), both inside a candle operation where there is to be a gradient (`op`), or, on other
//! devices, candle's own operations (`composed`). [`conv_transpose2d`] is the gradient of its input as an operation
//! of its own (`transposed`).

mod axes;
pub mod backward;
mod composed;
pub mod cpu;
pub mod cuda;
mod geometry;
mod op;
mod shape;
mod transposed;
#[doc(hidden)]
pub mod winograd;

pub use axes::Axes;

pub use cpu::{Algorithm, ConvProblem};
pub use cpu::{PackedCache, Packing};
pub use geometry::ConvGeometry;
pub use shape::ConvShape;
pub use transposed::{TransposeGeometry, conv_transpose2d};

use crate::activation::Activation;
use crate::cuda::runs_on;
use crate::simd::{self, Isa};
use candle_core::{Result, Tensor};

/// What happens to the sum of products before it is stored:
/// `y = activation((conv * scale + shift) + residual)`.
///
/// Its tensors have the input's dtype and device.
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    /// `[out_channels]`: a folded batch norm's factor.
    pub scale: Option<Tensor>,
    /// `[out_channels]`: the bias, or a folded batch norm's summand.
    pub shift: Option<Tensor>,
    /// `[batch, out_channels, height, width]`, as the output.
    pub residual: Option<Tensor>,
    pub activation: Activation,
}

impl Epilogue {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.scale, &self.shift, &self.residual].into_iter().flatten()
    }
}

/// Convolves an input `[batch, in_channels, height, width]` with a weight
/// `[out_channels, in_channels / groups, kernel height, kernel width]`, as PyTorch's `conv2d`, and
/// applies the epilogue, all in one kernel. f32, f64, f16 and bf16 (halves are summed in f32); the
/// operands may have any strides.
///
/// Where one of the operands tracks gradients, so does the result. `packed` keeps what a kernel
/// prepares from the weight for the next call; see [`PackedCache`] for when that is right.
///
/// # Errors
/// Where shapes, dtypes or devices do not fit, and where the output would be empty in height or width.
pub fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    packed: Option<&PackedCache>,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    let on_cuda = runs_on(input.device());
    if !on_cuda && !input.device().is_cpu() {
        composed::conv2d(input, weight, &shape, epilogue)
    } else if [input, weight].into_iter().chain(epilogue.tensors()).any(Tensor::track_op) {
        op::conv2d(input, weight, &shape, epilogue)
    } else if on_cuda {
        cuda::conv2d(input, weight, &shape, epilogue)
    } else {
        let packed = packed.filter(|_| !weight.is_variable());
        cpu::conv2d(input, weight, &shape, epilogue, packed, simd::isa())
    }
}

/// Does the same as [`conv2d`] on the CPU, without gradients, by a given algorithm, so that it can be timed.
#[doc(hidden)]
pub fn conv2d_by(
    algorithm: Algorithm,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    packed: &PackedCache,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    let packing = Packing::by(algorithm, packed, weight.id());
    cpu::conv2d_by(input, weight, &shape, epilogue, Some(packing), simd::isa())
}

/// As [`conv2d`] on the CPU, without gradients, with an instruction set other than the one in use: so that
/// tests reach all that the machine has.
#[doc(hidden)]
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
