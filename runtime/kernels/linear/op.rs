//! The linear map as a candle operation with a gradient.

use super::{mapped, of_weight, of_x, shape};
use crate::kernels::activation::{self, Activation};
use crate::kernels::element::{elements, with_elements};
use crate::kernels::relay;
use crate::kernels::simd::isa;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

const NAME: &str = "linear";

struct Linear {
    /// Its slope can be told from its output.
    activation: Activation,
}

/// As [`super::linear`], for operands of which at least one tracks gradients.
pub(super) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let fused = activation.saves_output();
    let op = Linear { activation: if fused { activation } else { Activation::Identity } };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let y = match bias {
        Some(bias) => relay::apply3(&x, &weight, &bias.contiguous()?, op)?,
        None => relay::apply2(&x, &weight, op)?,
    };
    if fused { Ok(y) } else { activation::apply(activation, &y) }
}

impl Linear {
    fn forward(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = shape(x_layout.dims(), weight_layout.dims(), bias.map(|(_, layout)| layout.dims()))?;
        let (x, weight) = (elements(x, x_layout)?, elements(weight, weight_layout)?);
        let bias = bias.map(|(bias, layout)| elements(bias, layout)).transpose()?;
        let y = mapped(isa(), sizes, x, weight, bias, self.activation);
        Ok((CpuStorage::F32(y), (sizes.rows, sizes.outputs).into()))
    }

    /// The gradients of input and weight, and that of the output before the activation.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<([Option<Tensor>; 2], Tensor)> {
        let grad = activation::gradient(self.activation, grad, y)?;
        let of_x = x.track_op().then(|| of_x(isa(), weight, &grad)).transpose()?;
        let of_weight = weight.track_op().then(|| of_weight(isa(), x, &grad)).transpose()?;
        Ok(([of_x, of_weight], grad))
    }
}

/// The sum of all rows of `[rows, outputs]`, added up in `f64`.
fn sum_of_rows(grad: &Tensor) -> Result<Tensor> {
    let outputs = grad.dim(1)?;
    let sums = with_elements::<f32, _>(grad, |grad| {
        let mut sums = vec![0f64; outputs];
        for row in grad.chunks_exact(outputs.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        sums.into_iter().map(|sum| sum as f32).collect::<Vec<_>>()
    })?;
    Tensor::from_vec(sums, outputs, grad.device())
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ([of_x, of_weight], _) = self.backward(x, weight, y, grad)?;
        Ok((of_x, of_weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (weight, weight_layout), Some((bias, bias_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ([of_x, of_weight], before) = self.backward(x, weight, y, grad)?;
        let of_bias = bias.track_op().then(|| sum_of_rows(&before)).transpose()?;
        Ok((of_x, of_weight, of_bias))
    }
}
