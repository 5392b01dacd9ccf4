//! The normalisation with what follows it, as a candle operation with a gradient.

use super::NAME;
use super::loops::{Gradient, Sums, Values};
use crate::activation::{self, Activation};
use crate::channels::{Channels, add};
use crate::element::{Element, elements, with_element, with_elements};
use crate::memory::vec_written_by;
use crate::operation::{CpuOperand, Operation};
use crate::simd::dispatch_loops;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Shape, Tensor, WithDType};
use std::ops::Range;

/// `activation((x - mean) · inv_std · weight + bias + residual)`.
///
/// Beside a residual, the third tensor, the second is the weight with the bias behind it.
pub(super) struct Normalize {
    pub view: Channels,
    pub mean: Vec<f64>,
    pub inv_std: Vec<f64>,
    /// Whether the statistics are those of `x` itself, and so depend on it.
    pub of_batch: bool,
    /// Its slope can be told from its output.
    pub activation: Activation,
    pub residual: bool,
}

impl Operation<3> for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout), second, third]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, x.dtype(), E => {
            let (second, third) = (elements::<E>(second.0, second.1)?, elements::<E>(third.0, third.1)?);
            let (weight, bias, residual) = match self.residual {
                true => (&second[..self.view.channels], &second[self.view.channels..], Some(third)),
                false => (second, third, None),
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
        let weight = second.narrow(0, 0, self.view.channels)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        // A residual's gradient is what the sum before the activation has.
        let masked = self.residual && self.activation != Activation::Identity;
        let before = if masked { activation::gradient(self.activation, grad, y)? } else { grad.clone() };
        let activation = if masked { Activation::Identity } else { self.activation };
        let (dx, sums) = with_element!(NAME, x.dtype(), E => {
            let (dx, sums) = with_elements::<E, _>(x, |x| {
                with_elements(y, |y| with_elements(&before, |grad| {
                    let sums = self.sums::<E>(activation, [x, y, grad]);
                    (self.gradient(activation, [x, y, grad], &weight, &sums), sums)
                }))
            })???;
            Ok::<_, candle_core::Error>((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
        })?;
        let parameter = |values: Vec<f64>| {
            Tensor::from_vec(values, self.view.channels, x.device())?.to_dtype(second.dtype())
        };
        let scaled = sums.iter().zip(&self.inv_std).map(|([_, product], inv_std)| product * inv_std);
        let dw = parameter(scaled.collect())?;
        let db = parameter(sums.iter().map(|[sum, _]| *sum).collect())?;
        let (second_grad, third_grad) = match self.residual {
            true => (Tensor::cat(&[&dw, &db], 0)?, before),
            false => (dw, db),
        };
        Ok([Some(dx), second.track_op().then_some(second_grad), third.track_op().then_some(third_grad)])
    }
}

impl Normalize {
    fn normalize<E: Element>(&self, x: &[E], weight: &[E], bias: &[E], residual: Option<&[E]>) -> Vec<E> {
        let fill = |y: &mut [_]| {
            self.view.for_each_plane(y, |channel, range, y| {
                dispatch_loops(Values {
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
        // SAFETY: the planes are all of the output, and each is written to its end.
        unsafe { vec_written_by(x.len(), fill) }
    }

    /// For each channel, the sum of the gradient and that of its product with `x - mean`.
    fn sums<E: Element>(&self, activation: Activation, [x, y, grad]: [&[E]; 3]) -> Vec<[f64; 2]> {
        let fold = |channel: usize, samples: Range<usize>| {
            let planes = samples.map(|sample| self.view.range(sample, channel)).map(|range| {
                let [x, y, grad] = [x, y, grad].map(|values| &values[range.clone()]);
                dispatch_loops(Sums { activation, mean: self.mean[channel], x, y, grad })
            });
            planes.fold([0.0; 2], add)
        };
        self.view.reduce(fold, add)
    }

    /// `weight · inv_std · (grad - mean(grad) - x̂ · mean(grad · x̂))`, without the means where the
    /// statistics are constants; `grad` is that before the activation.
    fn gradient<E: Element>(
        &self,
        activation: Activation,
        [x, y, grad]: [&[E]; 3],
        weight: &[f64],
        sums: &[[f64; 2]],
    ) -> Vec<E> {
        let count = self.view.per_channel() as f64;
        let fill = |dx: &mut [_]| {
            self.view.for_each_plane(dx, |channel, range, dx| {
                let [sum, product] = if self.of_batch { sums[channel] } else { [0.0; 2] };
                let inv_std = self.inv_std[channel];
                dispatch_loops(Gradient {
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
        // SAFETY: the planes are all of the output, and each is written to its end.
        unsafe { vec_written_by(x.len(), fill) }
    }
}
