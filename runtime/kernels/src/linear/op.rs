//! The linear layer as a differentiable candle operation.

use candle_core::{CpuStorage, Result, Shape, Tensor};

use crate::activation::{self, Activation};
use crate::element::{elements, with_elements};
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::simd::isa;

use super::{check_shapes, grad_weight, grad_x, linear_slices};

const NAME: &str = "linear";

struct Linear {
    /// The activation that the kernel applies. Only activations whose slope follows from the output are supported: see
    /// [`Activation::saves_output`].
    activation: Activation,
}

/// Computes [`super::linear`] for operands of which at least one tracks gradients.
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
        Some(bias) => relay::apply([&x, &weight, &bias.contiguous()?], op)?,
        None => relay::apply([&x, &weight], op)?,
    };
    if fused { Ok(y) } else { activation::apply(activation, &y) }
}

impl Linear {
    fn forward_slices(
        &self,
        (x, x_layout): CpuOperand,
        (weight, weight_layout): CpuOperand,
        bias: Option<CpuOperand>,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes =
            check_shapes(x_layout.dims(), weight_layout.dims(), bias.map(|(_, layout)| layout.dims()))?;
        let (x, weight) = (elements(x, x_layout)?, elements(weight, weight_layout)?);
        let bias = bias.map(|(bias, layout)| elements(bias, layout)).transpose()?;
        let y = linear_slices(isa(), sizes, x, weight, bias, self.activation);
        Ok((CpuStorage::F32(y), (sizes.rows, sizes.out_features).into()))
    }

    /// Returns the gradients of `x` and `weight`, and the masked gradient, which is the gradient of `x · weightᵀ +
    /// bias`.
    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<([Option<Tensor>; 2], Tensor)> {
        let grad = activation::gradient(self.activation, grad, y)?;
        let grad_x = x.track_op().then(|| grad_x(isa(), weight, &grad)).transpose()?;
        let grad_weight = weight.track_op().then(|| grad_weight(isa(), x, &grad)).transpose()?;
        Ok(([grad_x, grad_weight], grad))
    }
}

/// Returns the sum of the rows of `[rows, out_features]`, accumulated in f64.
fn sum_of_rows(grad: &Tensor) -> Result<Tensor> {
    let out_features = grad.dim(1)?;
    let sums = with_elements::<f32, _>(grad, |grad| {
        let mut sums = vec![0f64; out_features];
        for row in grad.chunks_exact(out_features.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        sums.into_iter().map(|sum| sum as f32).collect::<Vec<_>>()
    })?;
    Tensor::from_vec(sums, out_features, grad.device())
}

impl Operation<2> for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [x, weight]: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        self.forward_slices(x, weight, None)
    }

    fn backward(&self, [x, weight]: [&Tensor; 2], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(self.gradients(x, weight, y, grad)?.0)
    }
}

impl Operation<3> for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [x, weight, bias]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        self.forward_slices(x, weight, Some(bias))
    }

    fn backward(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let ([grad_x, grad_weight], grad) = self.gradients(x, weight, y, grad)?;
        let grad_bias = bias.track_op().then(|| sum_of_rows(&grad)).transpose()?;
        Ok([grad_x, grad_weight, grad_bias])
    }
}
