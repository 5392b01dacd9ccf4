//! The fused convolution as a candle operation with a gradient.
//!
//! A candle operation has at most three operands. A batch norm's scale is therefore folded into the weight. If there
//! is a residual and a bias, the weight and the bias are concatenated in one flat tensor. Both steps are candle
//! operations, which have gradients.

use candle_core::{CpuStorage, CudaStorage, Layout, Result, Shape, Tensor};

use crate::activation::{self, Activation};
use crate::cuda::Operand as CudaOperand;
use crate::memory::Alignment;
use crate::norm::fold_scale;
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::simd;
use crate::trace;

use super::backward::{Gradients, Needs, conv2d_backward};
use super::cpu::{self, Operand, Operands};
use super::cuda::forward::Options;
use super::{ConvShape, Epilogue, cuda};

const NAME: &str = "fused-conv2d";

/// The second and the third operand of the operation. The first operand is the input.
#[derive(Clone, Copy, PartialEq)]
enum OperandSet {
    /// The weight only.
    Weight,
    /// The weight, then the bias.
    WeightBias,
    /// The weight, then the residual.
    WeightResidual,
    /// The weight and the bias concatenated in one flat tensor, then the residual.
    JoinedResidual,
}

struct FusedConv2d {
    shape: ConvShape,
    activation: Activation,
    operands: OperandSet,
}

/// Computes [`super::conv2d`] for operands on the CPU or a CUDA device, at least one of which tracks gradients.
pub(super) fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    // The backward pass computes the slope of a fused activation from the output, which not every activation allows.
    let fuses_activation = epilogue.activation.saves_output();
    let activation = if fuses_activation { epilogue.activation } else { Activation::Identity };
    // The operands of a differentiable operation have one dtype.
    let [scale, shift] = [&epilogue.scale, &epilogue.shift]
        .map(|vector| vector.as_ref().map(|vector| vector.to_dtype(input.dtype())).transpose());
    let (scale, shift) = (scale?, shift?);
    let weight = match &scale {
        Some(scale) => fold_scale(weight, scale)?,
        None => weight.clone(),
    };
    let op = |operands| FusedConv2d { shape: *shape, activation, operands };
    let output = match (&shift, &epilogue.residual) {
        (None, None) => relay::apply([input, &weight], op(OperandSet::Weight))?,
        (Some(bias), None) => relay::apply([input, &weight, bias], op(OperandSet::WeightBias))?,
        (None, Some(residual)) => relay::apply([input, &weight, residual], op(OperandSet::WeightResidual))?,
        (Some(bias), Some(residual)) => {
            let joined = Tensor::cat(&[&weight.flatten_all()?, bias], 0)?;
            relay::apply([input, &joined, residual], op(OperandSet::JoinedResidual))?
        }
    };
    if fuses_activation { Ok(output) } else { activation::apply(epilogue.activation, &output) }
}

impl FusedConv2d {
    fn convolve<'a>(
        &self,
        input: Operand<'a>,
        second: Operand<'a>,
        third: Option<Operand<'a>>,
    ) -> Result<(CpuStorage, Shape)> {
        let mut operands = Operands { input, weight: second, scale: None, shift: None, residual: None };
        match self.operands {
            OperandSet::Weight => {}
            OperandSet::WeightBias => operands.shift = third,
            OperandSet::WeightResidual => operands.residual = third,
            OperandSet::JoinedResidual => {
                let (weight, bias) = self.split(second.layout)?;
                let storage = second.storage;
                operands.residual = third;
                let weight = Operand { storage, layout: &weight };
                let shift = Some(Operand { storage, layout: &bias });
                return self.run(&Operands { weight, shift, ..operands });
            }
        }
        self.run(&operands)
    }

    fn run(&self, operands: &Operands) -> Result<(CpuStorage, Shape)> {
        let isa = simd::isa();
        let output =
            cpu::forward(&self.shape, operands, self.activation, None, isa, Alignment::StorageStart)?;
        Ok((output, self.output_shape()))
    }

    /// Convolves on a CUDA device. The operands are the input, then the [`OperandSet`].
    fn convolve_on_cuda(&self, operands: &[CudaOperand]) -> Result<(CudaStorage, Shape)> {
        let options = Options {
            scale: false,
            shift: matches!(self.operands, OperandSet::WeightBias | OperandSet::JoinedResidual),
            residual: matches!(self.operands, OperandSet::WeightResidual | OperandSet::JoinedResidual),
            activation: self.activation,
        };
        let output = match *operands {
            [input, (joined, layout), residual] if self.operands == OperandSet::JoinedResidual => {
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

    /// Returns the layouts of the weight and the bias in the concatenated tensor, which `Tensor::cat` made contiguous.
    fn split(&self, joined: &Layout) -> Result<(Layout, Layout)> {
        let weight_dims = self.shape.weight_dims();
        let count = weight_dims.iter().product::<usize>();
        let start = joined.start_offset();
        Ok((
            Layout::contiguous_with_offset(weight_dims.to_vec(), start),
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
        // Launches of a backward pass have no path.
        let _launch = trace::begin(grad_output.device(), String::new, || "conv2d backward".to_string());
        let third_needs_grad = third.is_some_and(Tensor::track_op);
        let joined = self.operands == OperandSet::JoinedResidual;
        let needs = Needs {
            input: input.track_op(),
            weight: second.track_op(),
            bias: if joined {
                second.track_op()
            } else {
                self.operands == OperandSet::WeightBias && third_needs_grad
            },
            residual: self.operands != OperandSet::WeightBias && third_needs_grad,
        };
        let weight_dims = self.shape.weight_dims();
        let weight = if joined {
            second.narrow(0, 0, weight_dims.iter().product())?.reshape(weight_dims.to_vec())?
        } else {
            second.clone()
        };
        let geometry = &self.shape.geometry;
        let Gradients { input, weight, bias, residual } =
            conv2d_backward(input, &weight, output, grad_output, geometry, self.activation, needs)?;
        Ok(match self.operands {
            OperandSet::Weight | OperandSet::WeightBias => [input, weight, bias],
            OperandSet::WeightResidual => [input, weight, residual],
            OperandSet::JoinedResidual => [input, join(weight, bias)?, residual],
        })
    }
}

/// Concatenates the gradients of the weight and the bias. Returns `None` if either is missing.
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
