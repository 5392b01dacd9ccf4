//! The fused convolution as a candle operation with a gradient.
//!
//! A candle operation takes at most three tensors, so a batch norm's scale is folded into the weight,
//! and beside a residual the weight and the bias travel joined in one flat tensor. Each of these steps
//! is an operation of candle's own, which carries the gradient on.

use super::backward::{Gradients, Needs, conv2d_backward};
use super::cpu::{self, Operand, Operands};
use super::cuda::forward::Options;
use super::{ConvShape, Epilogue, cuda};
use crate::activation::{self, Activation};
use crate::cuda::Operand as CudaOperand;
use crate::memory::Alignment;
use crate::norm::fold_scale;
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::simd;
use crate::trace;
use candle_core::{CpuStorage, CudaStorage, Layout, Result, Shape, Tensor};

const NAME: &str = "fused-conv2d";

/// What the second and third tensor of the operation are; the first is the input.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Weight,
    WeightBias,
    WeightResidual,
    /// Weight and bias in one flat tensor, then the residual.
    JoinedResidual,
}

struct FusedConv2d {
    shape: ConvShape,
    activation: Activation,
    form: Form,
}

/// As [`super::conv2d`] for operands on the CPU or a CUDA device, at least one of which tracks gradients.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let fused = epilogue.activation.saves_output();
    let activation = if fused { epilogue.activation } else { Activation::Identity };
    let weight = match &epilogue.scale {
        Some(scale) => fold_scale(weight, scale)?,
        None => weight.clone(),
    };
    let op = |form| FusedConv2d { shape: *shape, activation, form };
    let output = match (&epilogue.shift, &epilogue.residual) {
        (None, None) => relay::apply([input, &weight], op(Form::Weight))?,
        (Some(bias), None) => relay::apply([input, &weight, bias], op(Form::WeightBias))?,
        (None, Some(residual)) => relay::apply([input, &weight, residual], op(Form::WeightResidual))?,
        (Some(bias), Some(residual)) => {
            let joined = Tensor::cat(&[&weight.flatten_all()?, bias], 0)?;
            relay::apply([input, &joined, residual], op(Form::JoinedResidual))?
        }
    };
    if fused { Ok(output) } else { activation::apply(epilogue.activation, &output) }
}

impl FusedConv2d {
    fn convolve<'a>(
        &self,
        input: Operand<'a>,
        second: Operand<'a>,
        third: Option<Operand<'a>>,
    ) -> Result<(CpuStorage, Shape)> {
        let mut operands = Operands { input, weight: second, scale: None, shift: None, residual: None };
        match self.form {
            Form::Weight => {}
            Form::WeightBias => operands.shift = third,
            Form::WeightResidual => operands.residual = third,
            Form::JoinedResidual => {
                let (weight, bias) = self.split(second.layout)?;
                let storage = second.storage;
                operands.residual = third;
                let weight = Operand { storage, layout: &weight };
                let shift = Some(Operand { storage, layout: &bias });
                let operands = Operands { weight, shift, ..operands };
                return Ok((
                    cpu::forward(
                        &self.shape,
                        &operands,
                        self.activation,
                        None,
                        simd::isa(),
                        Alignment::Storage,
                    )?,
                    self.output_shape(),
                ));
            }
        }
        Ok((
            cpu::forward(&self.shape, &operands, self.activation, None, simd::isa(), Alignment::Storage)?,
            self.output_shape(),
        ))
    }

    /// The same on a CUDA device, of input, second and third tensor.
    fn convolve_on_cuda(&self, operands: &[CudaOperand]) -> Result<(CudaStorage, Shape)> {
        let options = Options {
            scale: false,
            shift: matches!(self.form, Form::WeightBias | Form::JoinedResidual),
            residual: matches!(self.form, Form::WeightResidual | Form::JoinedResidual),
            activation: self.activation,
        };
        let output = match *operands {
            [input, (joined, layout), residual] if self.form == Form::JoinedResidual => {
                let (weight, bias) = self.split(layout)?;
                let operands = [input, (joined, &weight), (joined, &bias), residual];
                cuda::conv2d_storage(&self.shape, &options, &operands)?
            }
            _ => cuda::conv2d_storage(&self.shape, &options, operands)?,
        };
        Ok((output, self.output_shape()))
    }

    fn output_shape(&self) -> Shape {
        Shape::from(self.shape.output_dims().to_vec())
    }

    /// The weight's and the bias's place in the joined tensor, which `Tensor::cat` made contiguous.
    fn split(&self, joined: &Layout) -> Result<(Layout, Layout)> {
        let weights = self.shape.weight_dims();
        let count = weights.iter().product::<usize>();
        let start = joined.start_offset();
        Ok((
            Layout::contiguous_with_offset(weights.to_vec(), start),
            Layout::contiguous_with_offset(self.shape.out_channels, start + count),
        ))
    }

    fn gradients(
        &self,
        [input, second]: [&Tensor; 2],
        third: Option<&Tensor>,
        output: &Tensor,
        grad_output: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        trace::record(String::new, || "conv2d backward".to_string());
        let third_tracks = third.is_some_and(Tensor::track_op);
        let joined = self.form == Form::JoinedResidual;
        let needs = Needs {
            input: input.track_op(),
            weight: second.track_op(),
            bias: if joined { second.track_op() } else { self.form == Form::WeightBias && third_tracks },
            residual: self.form != Form::WeightBias && third_tracks,
        };
        let weights = self.shape.weight_dims();
        let weight = match joined {
            true => second.narrow(0, 0, weights.iter().product())?.reshape(weights.to_vec())?,
            false => second.clone(),
        };
        let geometry = &self.shape.geometry;
        let Gradients { input, weight, bias, residual } =
            conv2d_backward(input, &weight, output, grad_output, geometry, self.activation, needs)?;
        Ok(match self.form {
            Form::Weight | Form::WeightBias => [input, weight, bias],
            Form::WeightResidual => [input, weight, residual],
            Form::JoinedResidual => [input, join(weight, bias)?, residual],
        })
    }
}

fn join(weight: Option<Tensor>, bias: Option<Tensor>) -> Result<Option<Tensor>> {
    let (Some(weight), Some(bias)) = (weight, bias) else { return Ok(None) };
    Tensor::cat(&[weight.flatten_all()?, bias], 0).map(Some)
}

impl Operation<2> for FusedConv2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [input, weight]: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        self.convolve(input.into(), weight.into(), None)
    }

    fn forward_on_cuda(&self, operands: [CudaOperand; 2]) -> Result<(CudaStorage, Shape)> {
        self.convolve_on_cuda(&operands)
    }

    fn backward(
        &self,
        [input, weight]: [&Tensor; 2],
        output: &Tensor,
        grad_output: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let [input, weight, _] = self.gradients([input, weight], None, output, grad_output)?;
        Ok([input, weight])
    }
}

impl Operation<3> for FusedConv2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [input, second, third]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        self.convolve(input.into(), second.into(), Some(third.into()))
    }

    fn forward_on_cuda(&self, operands: [CudaOperand; 3]) -> Result<(CudaStorage, Shape)> {
        self.convolve_on_cuda(&operands)
    }

    fn backward(
        &self,
        [input, second, third]: [&Tensor; 3],
        output: &Tensor,
        grad_output: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        self.gradients([input, second], Some(third), output, grad_output)
    }
}
