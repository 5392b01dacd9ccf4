//! How good a network's outputs are, as plain numbers.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// The share of the elements whose class has the largest of the logits: logits `[batch, classes, …]`,
/// classes `[batch, …]`. NaN where there are no elements.
pub fn accuracy(logits: &Tensor, target: &Tensor) -> Result<f64> {
    check("accuracy", logits, target)?;
    if target.elem_count() == 0 {
        return Ok(f64::NAN);
    }
    Ok(share_found(logits, target)?.to_scalar()?)
}

/// The accuracy as a scalar of f64 on the device of the logits, not read yet. Their shapes fit, and there are
/// elements.
pub(super) fn share_found(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let found = logits.argmax(1)?.to_dtype(DType::I64)?.eq(&target.to_dtype(DType::I64)?)?;
    Ok(found.to_dtype(DType::F64)?.mean_all()?)
}

/// The share of the elements whose class is among the `k` with the largest logits: logits
/// `[batch, classes, …]`, classes `[batch, …]`. Of equal logits the target's counts as the largest.
pub fn top_k_accuracy(logits: &Tensor, target: &Tensor, k: usize) -> Result<f64> {
    check("top_k_accuracy", logits, target)?;
    if target.elem_count() == 0 {
        return Ok(f64::NAN);
    }
    let index = target.to_dtype(DType::I64)?.unsqueeze(1)?.contiguous()?;
    let own = logits.contiguous()?.gather(&index, 1)?;
    let larger = logits.broadcast_gt(&own)?.to_dtype(DType::I64)?.sum(1)?;
    mean(&larger.lt(k as i64)?)
}

/// The share of the elements on whose side of 0 the target stands: logits and targets (0 or 1) of one
/// shape, as [`bce_with_logits`](super::loss::bce_with_logits) takes them.
pub fn binary_accuracy(logits: &Tensor, target: &Tensor) -> Result<f64> {
    if logits.dims() != target.dims() {
        let (expected, given) = (logits.dims(), target.dims());
        let message = format!("expected a target of the logits' shape {expected:?}, got {given:?}");
        return Err(Error::msg(message).in_layer("binary_accuracy"));
    }
    mean(&logits.gt(0f64)?.eq(&target.to_dtype(DType::F64)?.gt(0.5)?)?)
}

/// How often each class was taken for each: `[classes, classes]` of I64 on the CPU, a row for each true
/// class and a column for each predicted one. Logits are `[batch, classes, …]`, classes `[batch, …]`.
pub fn confusion_matrix(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    check("confusion_matrix", logits, target)?;
    let classes = logits.dim(1)?;
    let mut counts = vec![0i64; classes * classes];
    if target.elem_count() > 0 {
        let predicted = logits.argmax(1)?.flatten_all()?.to_vec1::<u32>()?;
        let truth = target.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        for (truth, predicted) in truth.into_iter().zip(predicted) {
            let row = usize::try_from(truth).ok().filter(|&t| t < classes).ok_or_else(|| {
                let message = format!("class index {truth} is not among {classes} classes");
                Error::msg(message).in_layer("confusion_matrix")
            })?;
            counts[row * classes + predicted as usize] += 1;
        }
    }
    Ok(Tensor::from_vec(counts, (classes, classes), &candle_core::Device::Cpu)?)
}

/// A mean that grows batch by batch, each counted by its number of examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds the mean `value` of `examples` examples.
    pub fn add(&mut self, value: f64, examples: usize) {
        self.sum += value * examples as f64;
        self.weight += examples as f64;
    }

    /// The mean over all examples so far; NaN before the first.
    pub fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

/// An error unless `target` has the shape of `logits` without dimension 1.
fn check(metric: &str, logits: &Tensor, target: &Tensor) -> Result<()> {
    let (logits, given) = (logits.dims(), target.dims());
    let fits = logits.len() >= 2 && logits[1] > 0 && given.len() + 1 == logits.len();
    if fits && given[0] == logits[0] && given[1..] == logits[2..] {
        return Ok(());
    }
    let message =
        format!("expected logits [batch, classes, …] and classes [batch, …], got {logits:?} and {given:?}");
    Err(Error::msg(message).in_layer(metric))
}

/// The share of ones in a mask.
fn mean(mask: &Tensor) -> Result<f64> {
    Ok(mask.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
}
