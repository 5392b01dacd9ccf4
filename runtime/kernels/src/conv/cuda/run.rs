//! Runs the programs of the forward and backward pass on tensors.

use super::{backward, forward};
use crate::activation::Activation;
use crate::conv::backward::{Gradients, Needs};
use crate::conv::{ConvShape, Epilogue};
use crate::cuda::{Operand, Program, Target, launch, run};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result, Tensor, bail};
use forward::Options;

/// Computes [`crate::conv::conv2d`] for operands on a CUDA device. The result does not track gradients.
pub(in crate::conv) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    run_forward(input, weight, shape, epilogue, |options, target| {
        forward::program(shape, input.dtype(), options, target)
    })
}

/// Runs the forward program that `program` returns.
pub(super) fn run_forward(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
    program: impl Fn(&Options, &Target) -> Result<Program>,
) -> Result<Tensor> {
    let operands: Vec<&Tensor> = [input, weight].into_iter().chain(epilogue.tensors()).collect();
    let options = Options::of(epilogue);
    let outputs = launch("conv2d", &operands, [&shape.output_dims()], |target| program(&options, target))?;
    only_output("conv2d", outputs)
}

/// Computes [`conv2d`] for the storages that candle passes to an operation: the input, the weight, and the operands in
/// `options`.
pub(in crate::conv) fn conv2d_storage(
    shape: &ConvShape,
    options: &Options,
    operands: &[Operand],
) -> Result<CudaStorage> {
    let [(input, _), ..] = operands else { bail!("conv2d: expected an input and a weight") };
    let program = |target: &_| forward::program(shape, input.dtype(), options, target);
    only_output("conv2d", run("conv2d", &program, operands)?)
}

/// Computes [`crate::conv::backward::conv2d_backward`]. The tensors are `[input, weight, output, grad_output]`.
pub(in crate::conv) fn conv2d_backward(
    tensors: [&Tensor; 4],
    shape: &ConvShape,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    let [input, weight, output, _] = tensors;
    let shapes = [input.dims(), weight.dims(), &[shape.out_channels], output.dims()];
    let wanted = [needs.input, needs.weight, needs.bias, needs.residual];
    let wanted_shapes =
        || shapes.into_iter().zip(wanted).filter_map(|(shape, wanted)| wanted.then_some(shape));
    let results = if !wanted.contains(&true) {
        Vec::new()
    } else if tensors.iter().any(|tensor| tensor.elem_count() == 0) {
        // Empty sums are zero.
        wanted_shapes()
            .map(|shape| Tensor::zeros(shape, input.dtype(), input.device()))
            .collect::<Result<_>>()?
    } else {
        launch("conv2d backward", &tensors, wanted_shapes(), |target| {
            backward::program(shape, input.dtype(), activation, needs, target)
        })?
    };
    let mut results = results.into_iter();
    let [input, weight, bias, residual] = wanted.map(|wanted| if wanted { results.next() } else { None });
    Ok(Gradients { input, weight, bias, residual })
}

/// Computes the transposed convolution of the operands `[input, weight]` or `[input, weight, bias]`.
///
/// `shape` describes the ordinary convolution in the opposite direction: the input of `shape` has the size of the
/// transposed convolution's output, and the output of `shape` has the size of the operand `input`.
pub(in crate::conv) fn conv_transpose2d(shape: &ConvShape, operands: &[Operand]) -> Result<CudaStorage> {
    const NAME: &str = "conv_transpose2d";
    let [(input, layout), _, bias @ ..] = operands else { bail!("{NAME}: expected an input and a weight") };
    let (_, _, height, width) = layout.shape().dims4()?;
    let program = |target: &_| {
        backward::transposed_program(shape, [height, width], input.dtype(), !bias.is_empty(), target)
    };
    only_output(NAME, run(NAME, &program, operands)?)
}

/// Returns the only output of a program.
fn only_output<T>(op: &str, outputs: Vec<T>) -> Result<T> {
    match outputs.into_iter().next() {
        Some(output) => Ok(output),
        None => bail!("{op}: the program has no output"),
    }
}
