//! Batch normalization on CUDA devices as a differentiable candle operation.

use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Result, Shape, Storage, Tensor, bail};

use crate::activation::Activation;
use crate::channels::Channels;
use crate::cuda::{Operand, launch, run, with_storages};
use crate::operation::{self, Operation};

use super::{BatchNormProblem, backward, eval, train};

const NAME: &str = "batch_norm";

/// The mean and the biased variance, `[channels]` each, with which the input is normalized.
#[derive(Clone)]
enum Statistics {
    /// The statistics of the input, which the forward pass computes.
    Batch(Arc<OnceLock<[Tensor; 2]>>),
    /// Given statistics.
    Given([Tensor; 2]),
}

struct Normalize {
    norm: BatchNormProblem,
    statistics: Statistics,
}

/// Like [`crate::norm::batch_norm_train`], for an input that is not empty.
pub(in crate::norm) fn batch_norm_train(
    x: &Tensor,
    sizes: Channels,
    [weight, bias]: &[Tensor; 2],
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let computed = Arc::new(OnceLock::new());
    let statistics = Statistics::Batch(computed.clone());
    let y = operation::apply([x, weight, bias], Normalize { norm: problem(sizes, eps), statistics })?;
    match computed.get() {
        Some([mean, variance]) => Ok((y, mean.clone(), variance.clone())),
        None => bail!("{NAME}: the forward pass computed no statistics"),
    }
}

/// Like [`crate::norm::batch_norm_eval`]. Converts the statistics to the dtype of the weight.
pub(in crate::norm) fn batch_norm_eval(
    x: &Tensor,
    sizes: Channels,
    [mean, variance]: [&Tensor; 2],
    [weight, bias]: &[Tensor; 2],
    eps: f64,
) -> Result<Tensor> {
    let statistic = |given: &Tensor| given.detach().to_dtype(weight.dtype());
    let statistics = Statistics::Given([statistic(mean)?, statistic(variance)?]);
    operation::apply([x, weight, bias], Normalize { norm: problem(sizes, eps), statistics })
}

fn problem(sizes: Channels, eps: f64) -> BatchNormProblem {
    let Channels { samples, channels, plane } = sizes;
    let activation = Activation::Identity;
    BatchNormProblem { samples, channels, plane, weight: true, bias: true, eps, activation }
}

impl Normalize {
    fn statistics(&self) -> Result<&[Tensor; 2]> {
        match &self.statistics {
            Statistics::Given(statistics) => Ok(statistics),
            Statistics::Batch(computed) => match computed.get() {
                Some(statistics) => Ok(statistics),
                None => bail!("{NAME}: the forward pass has not run"),
            },
        }
    }

    /// Runs the forward pass for the input, weight and bias, and records the statistics of the batch.
    fn normalize(&self, [x, weight, bias]: [Operand; 3]) -> Result<CudaStorage> {
        let dtype = x.0.dtype();
        let outputs = match &self.statistics {
            Statistics::Batch(_) => run(NAME, &|_| train(&self.norm, None, dtype), &[x, weight, bias])?,
            Statistics::Given([mean, variance]) => with_storages(NAME, &[mean, variance], |statistics| {
                let operands = [&[x], statistics, &[weight, bias]].concat();
                run(NAME, &|_| eval(&self.norm, dtype), &operands)
            })?,
        };
        let mut outputs = outputs.into_iter();
        let Some(y) = outputs.next() else { bail!("{NAME}: the program has no output") };
        if let (Statistics::Batch(computed), Some(mean), Some(variance)) =
            (&self.statistics, outputs.next(), outputs.next())
        {
            let tensor = |storage| {
                let storage = Storage::Cuda(storage);
                Tensor::from_storage(storage, self.norm.channels, BackpropOp::none(), false)
            };
            // A second run has the same input and would compute the same statistics.
            let _ = computed.set([tensor(mean), tensor(variance)]);
        }
        Ok(y)
    }
}

impl Operation<3> for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward_on_cuda(&self, operands: [Operand; 3]) -> Result<(CudaStorage, Shape)> {
        let [(_, layout), ..] = operands;
        Ok((self.normalize(operands)?, layout.shape().clone()))
    }

    fn backward(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [mean, variance] = self.statistics()?;
        let training = matches!(self.statistics, Statistics::Batch(_));
        let shapes = [x.shape(), weight.shape(), bias.shape()];
        let gradients = launch(NAME, &[x, grad, mean, variance, weight, bias], shapes, |_| {
            backward(&self.norm, training, x.dtype())
        })?;
        let mut gradients = gradients.into_iter();
        let (dx, dw, db) = (gradients.next(), gradients.next(), gradients.next());
        Ok([dx, dw.filter(|_| weight.track_op()), db.filter(|_| bias.track_op())])
    }
}
