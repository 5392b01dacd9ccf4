//! Row normalization as a differentiable candle operation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

use crate::channels::sums;
use crate::element::{Element, elements, with_element, with_elements};
use crate::memory::zeros;
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk, for_each_row};
use crate::simd::dispatch_loops;

use super::loops::{Backward, Forward, ParameterGradients, SplitMean, WeightedGradient};
use super::rows::{RowShape, mean_square, moments};

/// The maximum number of blocks of rows in a backward pass. Each block computes separate sums for the gradients of the
/// parameters. The number of blocks depends only on the shape, so that the sums are the same for any number of threads.
const MAX_BLOCKS: usize = 64;

/// Computes `(x - mean) / √(variance + eps) · weight + bias` for each row. If `centered` is not set, the mean is
/// replaced by 0.
pub(super) struct RowNorm {
    pub name: &'static str,
    pub shape: RowShape,
    pub eps: f64,
    pub centered: bool,
}

impl Operation<3> for RowNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, [(x, layout), weight, bias]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        with_element!(self.name, x.dtype(), E => {
            let (weight, bias) = (elements::<E>(weight.0, weight.1)?, elements::<E>(bias.0, bias.1)?);
            let y = self.normalize::<E>(elements(x, layout)?, weight, bias);
            Ok((E::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let needs_parameter_gradients = weight.track_op() || bias.track_op();
        let (dx, [dw, db]) = with_element!(self.name, x.dtype(), E => {
            let gradients = with_elements::<E, _>(x, |x| {
                with_elements::<E, _>(grad, |grad| {
                    with_elements(weight, |weight| self.gradients::<E>(x, grad, weight, needs_parameter_gradients))
                })
            });
            let (dx, sums) = gradients???;
            Ok::<_, candle_core::Error>((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
        })?;
        let parameter = |tensor: &Tensor, values: Vec<f64>| {
            if !tensor.track_op() {
                return Ok(None);
            }
            Tensor::from_vec(values, tensor.shape(), tensor.device())?.to_dtype(tensor.dtype()).map(Some)
        };
        Ok([Some(dx), parameter(weight, dw)?, parameter(bias, db)?])
    }
}

impl RowNorm {
    fn normalize<E: Element>(&self, x: &[E], weight: &[E], bias: &[E]) -> Vec<E> {
        let mut y = zeros::<E>(x.len());
        for_each_row(self.shape.row_len(), cost::MIN_REREAD_ELEMENTS, &mut y, |row, y| {
            let x = &x[self.shape.range(row)];
            let parameters = self.shape.parameters_of(row);
            let (weight, bias) = (&weight[parameters.clone()], &bias[parameters]);
            let Statistics { mean, inv_std } = self.statistics(x);
            let (mean, scale) = (SplitMean::new(mean), E::from_f64(inv_std));
            dispatch_loops(Forward {
                elements_per_parameter: self.shape.elements_per_parameter,
                mean,
                scale,
                weight,
                bias,
                x,
                y,
            });
        });
        y
    }

    /// Returns the mean and the inverse standard deviation of a row.
    fn statistics<E: Element>(&self, row: &[E]) -> Statistics {
        let (mean, variance) = if self.centered { moments(row) } else { (0.0, mean_square(row)) };
        Statistics { mean, inv_std: 1.0 / (variance + self.eps).sqrt() }
    }

    /// Returns the gradient of `x` and, if `needs_parameter_gradients` is set, the gradients of the weight and the
    /// bias. Otherwise the gradients of the weight and the bias are zeros.
    fn gradients<E: Element>(
        &self,
        x: &[E],
        grad: &[E],
        weight: &[E],
        needs_parameter_gradients: bool,
    ) -> (Vec<E>, [Vec<f64>; 2]) {
        let (row_len, parameters) = (self.shape.row_len(), self.shape.parameters());
        let mut dx = zeros::<E>(x.len());
        let mut total = [vec![0.0; parameters], vec![0.0; parameters]];
        if row_len == 0 {
            return (dx, total);
        }
        let rows_per_block =
            cost::MIN_REREAD_ELEMENTS.div_ceil(row_len).max(self.shape.rows.div_ceil(MAX_BLOCKS));
        let chunks = dx.chunks_mut(rows_per_block * row_len);
        let mut blocks: Vec<(&mut [E], [Vec<f64>; 2])> = chunks.map(|dx| (dx, Default::default())).collect();
        for_each_chunk(&mut blocks, 1, |index, block| {
            for (dx, sums) in block {
                if needs_parameter_gradients {
                    *sums = total.clone();
                }
                self.block_gradients(index * rows_per_block, x, grad, weight, dx, sums);
            }
        });
        for (_, sums) in blocks {
            for (total, sums) in total.iter_mut().zip(sums) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        (dx, total)
    }

    /// Writes the gradients of several consecutive rows to `dx`. The first of these rows has the index `first`. Adds
    /// the gradients of the parameters to `sums`, unless the vectors in `sums` are empty.
    fn block_gradients<E: Element>(
        &self,
        first: usize,
        x: &[E],
        grad: &[E],
        weight: &[E],
        dx: &mut [E],
        sums: &mut [Vec<f64>; 2],
    ) {
        let mut weighted = vec![0.0; self.shape.row_len()];
        for (i, dx) in dx.chunks_exact_mut(self.shape.row_len()).enumerate() {
            let row = first + i;
            let (x, grad) = (&x[self.shape.range(row)], &grad[self.shape.range(row)]);
            let statistics = self.statistics(x);
            let parameters = self.shape.parameters_of(row);
            let [dw, db] = sums;
            if let (Some(dw), Some(db)) = (dw.get_mut(parameters.clone()), db.get_mut(parameters.clone())) {
                self.add_parameter_gradients(&statistics, x, grad, dw, db);
            }
            dispatch_loops(WeightedGradient {
                elements_per_parameter: self.shape.elements_per_parameter,
                weight: &weight[parameters],
                grad,
                out: &mut weighted,
            });
            self.row_gradient(&statistics, x, &weighted, dx);
        }
    }

    /// Computes `inv_std · (g - mean(g) - x̂ · mean(g · x̂))`, where `g = grad · weight` and `x̂` is the normalized
    /// row. If the normalization is not centered, `mean(g)` is replaced by 0.
    fn row_gradient<E: Element>(&self, statistics: &Statistics, x: &[E], weighted: &[f64], dx: &mut [E]) {
        let Statistics { mean, inv_std } = *statistics;
        let count = x.len() as f64;
        let [sum, product] = sums(x, weighted, |x, g| [g, g * (x - mean)]);
        let shift = E::from_f64(if self.centered { sum / count } else { 0.0 });
        let slope = E::from_f64(product * inv_std * inv_std / count);
        let (mean, scale) = (SplitMean::new(mean), E::from_f64(inv_std));
        dispatch_loops(Backward { mean, shift, slope, scale, weighted, x, dx });
    }

    /// Adds the contribution of one row to the gradients of the row's weights and biases.
    fn add_parameter_gradients<E: Element>(
        &self,
        statistics: &Statistics,
        x: &[E],
        grad: &[E],
        dw: &mut [f64],
        db: &mut [f64],
    ) {
        let Statistics { mean, inv_std } = *statistics;
        if self.shape.elements_per_parameter == 1 {
            return dispatch_loops(ParameterGradients { mean, inv_std, x, grad, dw, db });
        }
        let runs = x
            .chunks_exact(self.shape.elements_per_parameter)
            .zip(grad.chunks_exact(self.shape.elements_per_parameter));
        for ((x, grad), (dw, db)) in runs.zip(dw.iter_mut().zip(db)) {
            let [sum, product] = sums(x, grad, |x, grad| [grad, grad * (x - mean)]);
            *dw += product * inv_std;
            *db += sum;
        }
    }
}

/// The statistics with which one row is normalized.
struct Statistics {
    mean: f64,
    inv_std: f64,
}
