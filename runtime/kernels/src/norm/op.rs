//! Batch norm with a fused residual and activation, as a differentiable candle operation.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};

use crate::activation::{self, Activation};
use crate::channels::{Channels, add_arrays};
use crate::element::{Element, elements, with_element, with_elements};
use crate::memory::vec_written_by;
use crate::operation::{CpuOperand, Operation};
use crate::simd::dispatch_loops;

use super::NAME;
use super::loops::{Backward, Forward, GradientSums};
use super::ranks::Ranks;

/// `activation((x - mean) · inv_std · weight + bias + residual)`.
///
/// The operands are `x`, weight and bias. With a residual, they are `x`, the concatenation of weight and bias, and the
/// residual.
pub(super) struct Normalize {
    pub sizes: Channels,
    pub mean: Vec<f64>,
    pub inv_std: Vec<f64>,
    /// Whether the statistics were computed from `x`, so that they contribute to the gradient of `x`.
    pub training: bool,
    /// The number of values of a channel from which the statistics were computed.
    pub count: f64,
    /// The processes whose batches contribute to the statistics, or `None` for the batch of this process alone.
    pub ranks: Option<Ranks>,
    /// The activation. It must [save its output](Activation::saves_output).
    pub activation: Activation,
    /// Whether there is a residual.
    pub residual: bool,
}

impl Operation<3> for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout), second, third]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, x.dtype(), E => {
            let (second, third) = (elements::<E>(second.0, second.1)?, elements::<E>(third.0, third.1)?);
            let (weight, bias, residual) = if self.residual {
                (&second[..self.sizes.channels], &second[self.sizes.channels..], Some(third))
            } else {
                (second, third, None)
            };
            let y = self.normalize::<E>(elements(x, layout)?, weight, bias, residual);
            Ok((E::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(
        &self,
        [x, second, third]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let weight = second.narrow(0, 0, self.sizes.channels)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        // The gradient of the residual is the masked gradient, which is therefore computed as a tensor.
        let has_residual_and_activation = self.residual && self.activation != Activation::Identity;
        let masked = if has_residual_and_activation {
            activation::gradient(self.activation, grad, y)?
        } else {
            grad.clone()
        };
        let activation = if has_residual_and_activation { Activation::Identity } else { self.activation };
        let (dx, sums) = with_element!(NAME, x.dtype(), E => {
            let (dx, sums) = with_elements::<E, _>(x, |x| {
                with_elements(y, |y| with_elements(&masked, |grad| {
                    let sums = self.sums::<E>(activation, [x, y, grad]);
                    let all = match &self.ranks {
                        Some(ranks) => &ranks.sum_of_gradients(&sums)?,
                        None => &sums,
                    };
                    Ok::<_, candle_core::Error>((self.gradient(activation, [x, y, grad], &weight, all), sums))
                }))
            })????;
            Ok::<_, candle_core::Error>((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
        })?;
        let parameter = |values: Vec<f64>| {
            Tensor::from_vec(values, self.sizes.channels, x.device())?.to_dtype(second.dtype())
        };
        let scaled = sums.iter().zip(&self.inv_std).map(|([_, product], inv_std)| product * inv_std);
        let dw = parameter(scaled.collect())?;
        let db = parameter(sums.iter().map(|[sum, _]| *sum).collect())?;
        let (second_grad, third_grad) =
            if self.residual { (Tensor::cat(&[&dw, &db], 0)?, masked) } else { (dw, db) };
        Ok([Some(dx), second.track_op().then_some(second_grad), third.track_op().then_some(third_grad)])
    }
}

impl Normalize {
    fn normalize<E: Element>(&self, x: &[E], weight: &[E], bias: &[E], residual: Option<&[E]>) -> Vec<E> {
        let fill = |y: &mut [_]| {
            self.sizes.for_each_plane(y, |channel, range, y| {
                dispatch_loops(Forward {
                    activation: self.activation,
                    mean: E::from_f64(self.mean[channel]),
                    scale: E::from_f64(self.inv_std[channel]) * weight[channel],
                    bias: bias[channel],
                    x: &x[range.clone()],
                    residual: residual.map(|residual| &residual[range]),
                    y,
                });
            });
        };
        // SAFETY: `for_each_plane` covers the whole output, and the kernel initializes every element of each plane.
        unsafe { vec_written_by(x.len(), fill) }
    }

    /// Returns, for each channel, the sum of the masked gradient and the sum of the masked gradient times `x - mean`.
    fn sums<E: Element>(&self, activation: Activation, [x, y, grad]: [&[E]; 3]) -> Vec<[f64; 2]> {
        let fold = |channel: usize, samples: Range<usize>| {
            let planes = samples.map(|sample| self.sizes.range(sample, channel)).map(|range| {
                let [x, y, grad] = [x, y, grad].map(|values| &values[range.clone()]);
                dispatch_loops(GradientSums { activation, mean: self.mean[channel], x, y, grad })
            });
            planes.fold([0.0; 2], add_arrays)
        };
        self.sizes.reduce(fold, add_arrays)
    }

    /// Returns `weight · inv_std · (g - mean(g) - x̂ · mean(g · x̂))`, where `g` is the masked gradient and `x̂` is the
    /// normalized input. Both means are replaced by 0 if the statistics are constants. `sums` are those of all values
    /// from which the statistics were computed.
    fn gradient<E: Element>(
        &self,
        activation: Activation,
        [x, y, grad]: [&[E]; 3],
        weight: &[f64],
        sums: &[[f64; 2]],
    ) -> Vec<E> {
        let count = self.count;
        let fill = |dx: &mut [_]| {
            self.sizes.for_each_plane(dx, |channel, range, dx| {
                let [sum, product] = if self.training { sums[channel] } else { [0.0; 2] };
                let inv_std = self.inv_std[channel];
                dispatch_loops(Backward {
                    activation,
                    mean: E::from_f64(self.mean[channel]),
                    shift: E::from_f64(sum / count),
                    slope: E::from_f64(product * inv_std * inv_std / count),
                    scale: E::from_f64(weight[channel] * inv_std),
                    x: &x[range.clone()],
                    y: &y[range.clone()],
                    grad: &grad[range],
                    dx,
                });
            });
        };
        // SAFETY: `for_each_plane` covers the whole output, and the kernel initializes every element of each plane.
        unsafe { vec_written_by(x.len(), fill) }
    }
}
