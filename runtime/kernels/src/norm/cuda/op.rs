//! Batch normalisation on a CUDA device as a candle operation with a gradient.

use super::{BatchNorm, backward, eval, train};
use crate::activation::Activation;
use crate::channels::Channels;
use crate::cuda::{Operand, launch, run, with_storages};
use crate::operation::{self, Operation};
use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Result, Shape, Storage, Tensor, bail};
use std::sync::{Arc, OnceLock};

const NAME: &str = "batch_norm";

/// By what the input is normalised: `[channels]` of mean and biased variance.
#[derive(Clone)]
enum Statistics {
    /// Its own, which the forward pass finds.
    OfBatch(Arc<OnceLock<[Tensor; 2]>>),
    Given([Tensor; 2]),
}

struct Normalize {
    norm: BatchNorm,
    statistics: Statistics,
}

/// As [`crate::norm::batch_norm_train`], of an input that is not empty.
pub(in crate::norm) fn batch_norm_train(
    x: &Tensor,
    view: Channels,
    [weight, bias]: &[Tensor; 2],
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let found = Arc::new(OnceLock::new());
    let statistics = Statistics::OfBatch(found.clone());
    let y = operation::apply([x, weight, bias], Normalize { norm: of(view, eps), statistics })?;
    match found.get() {
        Some([mean, variance]) => Ok((y, mean.clone(), variance.clone())),
        None => bail!("{NAME}: the forward pass found no statistics"),
    }
}

/// As [`crate::norm::batch_norm_eval`]; the statistics are of the weight's dtype.
pub(in crate::norm) fn batch_norm_eval(
    x: &Tensor,
    view: Channels,
    [mean, variance]: [&Tensor; 2],
    [weight, bias]: &[Tensor; 2],
    eps: f64,
) -> Result<Tensor> {
    let statistic = |given: &Tensor| given.detach().to_dtype(weight.dtype());
    let statistics = Statistics::Given([statistic(mean)?, statistic(variance)?]);
    operation::apply([x, weight, bias], Normalize { norm: of(view, eps), statistics })
}

fn of(view: Channels, eps: f64) -> BatchNorm {
    let Channels { samples, channels, plane } = view;
    let activation = Activation::Identity;
    BatchNorm { samples, channels, plane, weight: true, bias: true, eps, activation }
}

impl Normalize {
    fn statistics(&self) -> Result<&[Tensor; 2]> {
        match &self.statistics {
            Statistics::Given(statistics) => Ok(statistics),
            Statistics::OfBatch(found) => match found.get() {
                Some(statistics) => Ok(statistics),
                None => bail!("{NAME}: the forward pass has not run"),
            },
        }
    }

    /// Of input, weight and bias.
    fn normalize(&self, [x, weight, bias]: [Operand; 3]) -> Result<CudaStorage> {
        let dtype = x.0.dtype();
        let outputs = match &self.statistics {
            Statistics::OfBatch(_) => run(NAME, &|_| train(&self.norm, None, dtype), &[x, weight, bias])?,
            Statistics::Given([mean, variance]) => with_storages(NAME, &[mean, variance], |statistics| {
                let operands = [&[x], statistics, &[weight, bias]].concat();
                run(NAME, &|_| eval(&self.norm, dtype), &operands)
            })?,
        };
        let mut outputs = outputs.into_iter();
        let Some(y) = outputs.next() else { bail!("{NAME}: the program has no output") };
        if let (Statistics::OfBatch(found), Some(mean), Some(variance)) =
            (&self.statistics, outputs.next(), outputs.next())
        {
            let tensor = |storage| {
                let storage = Storage::Cuda(storage);
                Tensor::from_storage(storage, self.norm.channels, BackpropOp::none(), false)
            };
            // A second run, of the same input, would find the same.
            let _ = found.set([tensor(mean), tensor(variance)]);
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
        let of_batch = matches!(self.statistics, Statistics::OfBatch(_));
        let shapes = [x.shape(), weight.shape(), bias.shape()];
        let gradients = launch(NAME, &[x, grad, mean, variance, weight, bias], shapes, |_| {
            backward(&self.norm, of_batch, x.dtype())
        })?;
        let mut gradients = gradients.into_iter();
        let (dx, dw, db) = (gradients.next(), gradients.next(), gradients.next());
        Ok([dx, dw.filter(|_| weight.track_op()), db.filter(|_| bias.track_op())])
    }
}
