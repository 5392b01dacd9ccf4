//! The normalisation of rows as a candle operation with a gradient.

use super::loops::{Backward, Centre, Forward, Parameters, Weigh};
use super::rows::{Rows, mean_square, moments};
use crate::channels::sums;
use crate::element::{Element, elements, with_element, with_elements};
use crate::memory::zeros;
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk, for_each_row};
use crate::simd::dispatch_loops;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

/// Into how many blocks of rows a backward pass is cut at the most: each sums the parameters' gradients
/// for itself. The shape alone decides, so that the sums are the same for every number of threads.
const BLOCKS: usize = 64;

/// `(x - mean) / √(variance + eps) · weight + bias`, row by row; not centred, the mean is taken to be 0.
pub(super) struct RowNorm {
    pub name: &'static str,
    pub rows: Rows,
    pub eps: f64,
    pub centred: bool,
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
        let learned = weight.track_op() || bias.track_op();
        let (dx, [dw, db]) = with_element!(self.name, x.dtype(), E => {
            let gradients = with_elements::<E, _>(x, |x| {
                with_elements::<E, _>(grad, |grad| {
                    with_elements(weight, |weight| self.gradients::<E>(x, grad, weight, learned))
                })
            });
            let (dx, sums) = gradients???;
            Ok::<_, candle_core::Error>((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
        })?;
        let parameter = |tensor: &Tensor, values: Vec<f64>| match tensor.track_op() {
            true => {
                Tensor::from_vec(values, tensor.shape(), tensor.device())?.to_dtype(tensor.dtype()).map(Some)
            }
            false => Ok(None),
        };
        Ok([Some(dx), parameter(weight, dw)?, parameter(bias, db)?])
    }
}

impl RowNorm {
    fn normalize<E: Element>(&self, x: &[E], weight: &[E], bias: &[E]) -> Vec<E> {
        let mut y = zeros::<E>(x.len());
        for_each_row(self.rows.elements(), cost::TWO_PASSES, &mut y, |row, y| {
            let x = &x[self.rows.range(row)];
            let parameters = self.rows.parameters_of(row);
            let (weight, bias) = (&weight[parameters.clone()], &bias[parameters]);
            let Statistics { mean, inv_std } = self.statistics(x);
            let (centre, scale) = (Centre::at(mean), E::from_f64(inv_std));
            dispatch_loops(Forward { span: self.rows.span, centre, scale, weight, bias, x, y });
        });
        y
    }

    fn statistics<E: Element>(&self, row: &[E]) -> Statistics {
        let (mean, variance) = if self.centred { moments(row) } else { (0.0, mean_square(row)) };
        Statistics { mean, inv_std: 1.0 / (variance + self.eps).sqrt() }
    }

    /// The gradient of `x`, and the sums that are those of the weight and the bias where they are
    /// `learned`.
    fn gradients<E: Element>(
        &self,
        x: &[E],
        grad: &[E],
        weight: &[E],
        learned: bool,
    ) -> (Vec<E>, [Vec<f64>; 2]) {
        let (elements, parameters) = (self.rows.elements(), self.rows.parameters());
        let mut dx = zeros::<E>(x.len());
        let mut total = [vec![0.0; parameters], vec![0.0; parameters]];
        if elements == 0 {
            return (dx, total);
        }
        let rows = cost::TWO_PASSES.div_ceil(elements).max(self.rows.rows.div_ceil(BLOCKS));
        let chunks = dx.chunks_mut(rows * elements);
        let mut blocks: Vec<(&mut [E], [Vec<f64>; 2])> = chunks.map(|dx| (dx, Default::default())).collect();
        for_each_chunk(&mut blocks, 1, |index, block| {
            for (dx, sums) in block {
                if learned {
                    *sums = total.clone();
                }
                self.block(index * rows, x, grad, weight, dx, sums);
            }
        });
        for (_, sums) in blocks {
            for (total, sums) in total.iter_mut().zip(sums) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        (dx, total)
    }

    /// The gradients of the rows from `first` on that `dx` has room for; `sums` is empty where nobody
    /// wants them.
    fn block<E: Element>(
        &self,
        first: usize,
        x: &[E],
        grad: &[E],
        weight: &[E],
        dx: &mut [E],
        sums: &mut [Vec<f64>; 2],
    ) {
        let mut weighed = vec![0.0; self.rows.elements()];
        for (i, dx) in dx.chunks_exact_mut(self.rows.elements()).enumerate() {
            let row = first + i;
            let (x, grad) = (&x[self.rows.range(row)], &grad[self.rows.range(row)]);
            let statistics = self.statistics(x);
            let parameters = self.rows.parameters_of(row);
            let [dw, db] = sums;
            if let (Some(dw), Some(db)) = (dw.get_mut(parameters.clone()), db.get_mut(parameters.clone())) {
                self.add_parameters(&statistics, x, grad, dw, db);
            }
            dispatch_loops(Weigh {
                span: self.rows.span,
                weight: &weight[parameters],
                grad,
                out: &mut weighed,
            });
            self.row_gradient(&statistics, x, &weighed, dx);
        }
    }

    /// `inv_std · (g - mean(g) - x̂ · mean(g · x̂))` with `g = grad · weight`; not centred, without the
    /// first mean.
    fn row_gradient<E: Element>(&self, at: &Statistics, x: &[E], weighed: &[f64], dx: &mut [E]) {
        let (mean, count) = (at.mean, x.len() as f64);
        let [sum, product] = sums(x, weighed, |x, g| [g, g * (x - mean)]);
        let shift = E::from_f64(if self.centred { sum / count } else { 0.0 });
        let slope = E::from_f64(product * at.inv_std * at.inv_std / count);
        let (centre, scale) = (Centre::at(mean), E::from_f64(at.inv_std));
        dispatch_loops(Backward { centre, shift, slope, scale, weighed, x, dx });
    }

    /// Adds one row's part to the gradients of its weights and biases.
    fn add_parameters<E: Element>(
        &self,
        at: &Statistics,
        x: &[E],
        grad: &[E],
        dw: &mut [f64],
        db: &mut [f64],
    ) {
        let Statistics { mean, inv_std } = *at;
        if self.rows.span == 1 {
            return dispatch_loops(Parameters { mean, inv_std, x, grad, dw, db });
        }
        let runs = x.chunks_exact(self.rows.span).zip(grad.chunks_exact(self.rows.span));
        for ((x, grad), (dw, db)) in runs.zip(dw.iter_mut().zip(db)) {
            let [sum, product] = sums(x, grad, |x, grad| [grad, grad * (x - mean)]);
            *dw += product * inv_std;
            *db += sum;
        }
    }
}

/// What one row is normalised by.
struct Statistics {
    mean: f64,
    inv_std: f64,
}
