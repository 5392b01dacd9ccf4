//! The programs of the fused convolution's backward pass on a CUDA device.
//!
//! When the kernels read the gradient of the output, they multiply it by the activation's derivative, which they
//! compute from the output. The gradient of the input is an implicit GEMM for each phase (residue class of the stride),
//! so the zeros between strided pixels are never multiplied. The gradients of the weight and the bias are sums over the
//! pixels of the batch. The pixels are split into parts that depend only on the shape and the kernel. A second launch
//! adds the sums of the parts in a fixed order. No result depends on the order in which blocks run.

mod choice;
mod input;
mod program_builder;
mod sizes;
mod sums;
mod tensor_cores;
mod weight;

#[cfg(any(test, feature = "testing"))]
pub use choice::Tile;
pub use choice::{Method, Methods};

use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::backward::Needs;
use crate::cuda::{Arg, Buffer, Program, Target};
use candle_core::{DType, Result, bail};
use program_builder::ProgramBuilder;

/// Returns the program for the gradients of `output = activation(conv(input, weight) + bias + residual)`.
///
/// The operands are `[input, weight, output, grad_output]`. The outputs are the requested gradients of input, weight,
/// bias and residual, in this order.
///
/// # Errors
/// Fails if the dtype is not f32, f64, f16 or bf16, if the derivative of the activation cannot be computed from its
/// output, or if there are more pixels or weights than the kernels can count in an `int`.
pub fn program(
    shape: &ConvShape,
    dtype: DType,
    activation: Activation,
    needs: Needs,
    target: &Target,
) -> Result<Program> {
    program_with_methods(shape, dtype, activation, needs, Methods::choose(shape, dtype, target))
}

/// Like [`program`], but with the given methods.
pub fn program_with_methods(
    shape: &ConvShape,
    dtype: DType,
    activation: Activation,
    needs: Needs,
    methods: Methods,
) -> Result<Program> {
    if !activation.saves_output() {
        bail!("conv2d backward: the derivative of {activation:?} cannot be computed from its output")
    }
    let [input, weight, output, grad] = [0, 1, 2, 3].map(Arg::Operand);
    let mut builder = ProgramBuilder::new(shape, dtype, grad)?;
    if activation != Activation::Identity {
        builder.gradient.mask(output, activation);
    }
    let [grad_input, grad_weight, grad_bias, grad_residual] = builder.outputs(needs);
    if grad_residual.is_some() || grad_bias.is_some() {
        sums::mask(&mut builder, grad_residual.clone(), grad_bias)?;
    }
    if let Some(residual) = grad_residual {
        // The gradient of the residual is the masked gradient.
        builder.gradient.replace(residual);
    }
    if let Some(result) = grad_input {
        input::gradient(&mut builder, methods.input, weight, Arg::Absent, result)?;
    }
    if let Some(result) = grad_weight {
        weight::gradient(&mut builder, methods.weight, input, result)?;
    }
    Ok(builder.program)
}

/// Returns the program for the forward pass of a transposed convolution: the gradient of the input of the convolution
/// `shape`, plus a bias per channel.
///
/// The operands are `[input, weight]` or `[input, weight, bias]`. The output is
/// `[batch, shape.in_channels, height, width]`. `input_size` is the `[height, width]` of the operand `input`. It equals
/// `shape.output`, or is smaller if the output padding is at least the stride.
///
/// # Errors
/// Fails under the same conditions as [`program`].
pub fn transposed_program(
    shape: &ConvShape,
    input_size: [usize; 2],
    dtype: DType,
    bias: bool,
    target: &Target,
) -> Result<Program> {
    transposed_program_with_method(
        shape,
        input_size,
        dtype,
        bias,
        Methods::choose(shape, dtype, target).input,
    )
}

/// Like [`transposed_program`], but with the given method.
pub fn transposed_program_with_method(
    shape: &ConvShape,
    input_size: [usize; 2],
    dtype: DType,
    bias: bool,
    method: Method,
) -> Result<Program> {
    let shape = ConvShape { output: input_size, ..*shape };
    let mut builder = ProgramBuilder::new(&shape, dtype, Arg::Operand(0))?;
    let elements = shape.batch * shape.in_channels * shape.input[0] * shape.input[1];
    builder.program.outputs.push(Buffer { elements, dtype });
    let bias = if bias { Arg::Operand(2) } else { Arg::Absent };
    input::gradient(&mut builder, method, Arg::Operand(1), bias, Arg::Output(0))?;
    Ok(builder.program)
}
