//! The plan of the fused convolution's backward pass on a CUDA device.
//!
//! The activation's slope comes from the output, as the kernels read the gradient. The gradient of the input is
//! an implicit GEMM for each phase of the stride, so that nothing is multiplied with the zeros between strided
//! pixels; the one of the weight is cut into parts by the shape alone, whose sums a second launch adds in their
//! order. No result depends on the order in which blocks run.

mod choice;
mod input;
mod launches;
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
use launches::Launches;

/// The gradients of `output = activation(conv(input, weight) + bias + residual)`. The operands are
/// `[input, weight, output, gradient of the output]`; the program's outputs are those of the gradients of
/// input, weight, bias and residual, in this order, that are needed.
///
/// # Errors
/// For another dtype than f32, f64, f16 or bf16, for an activation whose slope does not follow from its output,
/// and for more pixels or weights than the kernels count.
pub fn program(
    shape: &ConvShape,
    dtype: DType,
    activation: Activation,
    needs: Needs,
    target: &Target,
) -> Result<Program> {
    program_by(shape, dtype, activation, needs, Methods::choose(shape, dtype, target))
}

/// As [`program`], by given methods.
pub fn program_by(
    shape: &ConvShape,
    dtype: DType,
    activation: Activation,
    needs: Needs,
    methods: Methods,
) -> Result<Program> {
    if !activation.saves_output() {
        bail!("conv2d backward: the slope of {activation:?} does not follow from its output")
    }
    let [input, weight, output, grad] = [0, 1, 2, 3].map(Arg::Operand);
    let mut plan = Launches::new(shape, dtype, grad)?;
    if activation != Activation::Identity {
        plan.gradient.mask(output, activation);
    }
    let [to_input, to_weight, to_bias, to_residual] = plan.outputs(needs);
    if to_residual.is_some() || to_bias.is_some() {
        sums::mask(&mut plan, to_residual.clone(), to_bias)?;
    }
    if let Some(residual) = to_residual {
        // It is the gradient before the activation.
        plan.gradient.replace(residual);
    }
    if let Some(result) = to_input {
        input::gradient(&mut plan, methods.input, weight, Arg::Absent, result)?;
    }
    if let Some(result) = to_weight {
        weight::gradient(&mut plan, methods.weight, input, result)?;
    }
    Ok(plan.program)
}

/// The forward pass of a transposed convolution: of the convolution `shape` the gradient of its input, plus a
/// bias a channel. The operands are `[input, weight]`, or `[input, weight, bias]`; the output is
/// `[batch, shape.in_channels, height, width]`. The operation's input is of the `given` size, which may be
/// smaller than `shape.output` where the output padding is not smaller than the stride.
///
/// # Errors
/// As [`program`].
pub fn transposed_program(
    shape: &ConvShape,
    given: [usize; 2],
    dtype: DType,
    bias: bool,
    target: &Target,
) -> Result<Program> {
    transposed_by(shape, given, dtype, bias, Methods::choose(shape, dtype, target).input)
}

/// As [`transposed_program`], by a given method.
pub fn transposed_by(
    shape: &ConvShape,
    given: [usize; 2],
    dtype: DType,
    bias: bool,
    method: Method,
) -> Result<Program> {
    let shape = ConvShape { output: given, ..*shape };
    let mut plan = Launches::new(&shape, dtype, Arg::Operand(0))?;
    let elements = shape.batch * shape.in_channels * shape.input[0] * shape.input[1];
    plan.program.outputs.push(Buffer { elements, dtype });
    let bias = if bias { Arg::Operand(2) } else { Arg::Absent };
    input::gradient(&mut plan, method, Arg::Operand(1), bias, Arg::Output(0))?;
    Ok(plan.program)
}
