//! Classification metrics.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// Returns the fraction of elements whose target class has the largest logit, or NaN if there are no elements.
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`.
///
/// # Errors
/// Fails if the shapes do not match or there are no classes.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// assert_eq!(accuracy(&logits, &target)?, 0.5);
/// # Ok(())
/// # }
/// ```
pub fn accuracy(logits: &Tensor, target: &Tensor) -> Result<f64> {
    check("accuracy", logits, target)?;
    if target.elem_count() == 0 {
        return Ok(f64::NAN);
    }
    Ok(mean_correct(logits, target)?.to_scalar()?)
}

/// Returns the accuracy as an f64 scalar on the device of the logits. The caller must check the shapes and that
/// there are elements.
pub(super) fn mean_correct(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let correct = logits.argmax(1)?.to_dtype(DType::I64)?.eq(&target.to_dtype(DType::I64)?)?;
    Ok(correct.to_dtype(DType::F64)?.mean_all()?)
}

/// Returns the fraction of elements whose target class is among the `k` largest logits, or NaN if there are no
/// elements.
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`. Ties count in favor of
/// the target class.
///
/// # Errors
/// Fails if the shapes do not match or if there are no classes. On the CPU, also fails if a class index is out of
/// range.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::train::metrics::top_k_accuracy;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// assert_eq!(top_k_accuracy(&logits, &target, 1)?, 0.5);
/// assert_eq!(top_k_accuracy(&logits, &target, 2)?, 1.);
/// # Ok(())
/// # }
/// ```
pub fn top_k_accuracy(logits: &Tensor, target: &Tensor, k: usize) -> Result<f64> {
    check("top_k_accuracy", logits, target)?;
    if target.elem_count() == 0 {
        return Ok(f64::NAN);
    }
    let index = target.to_dtype(DType::I64)?.unsqueeze(1)?.contiguous()?;
    let target_logits = logits.contiguous()?.gather(&index, 1)?;
    let larger = logits.broadcast_gt(&target_logits)?.to_dtype(DType::I64)?.sum(1)?;
    mean(&larger.lt(k as i64)?)
}

/// Returns the fraction of elements for which `logit > 0` equals `target > 0.5`.
///
/// Logits and targets (0 or 1) have the same shape, as in [`bce_with_logits`](super::loss::bce_with_logits).
///
/// # Errors
/// Fails if the shapes differ.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::train::metrics::binary_accuracy;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[-2f32, 0.5, 3., -1.], &Device::Cpu)?;
/// let target = Tensor::new(&[0f32, 1., 0., 0.], &Device::Cpu)?;
/// assert_eq!(binary_accuracy(&logits, &target)?, 0.75);
/// # Ok(())
/// # }
/// ```
pub fn binary_accuracy(logits: &Tensor, target: &Tensor) -> Result<f64> {
    if logits.dims() != target.dims() {
        let expected = logits.dims();
        let found = target.dims();
        let message = format!("expected a target of the logits' shape {expected:?}, found {found:?}");
        return Err(Error::msg(message).in_layer("binary_accuracy"));
    }
    mean(&logits.gt(0f64)?.eq(&target.to_dtype(DType::F64)?.gt(0.5)?)?)
}

/// Returns the confusion matrix, an I64 tensor `[classes, classes]` on the CPU. Rows are true classes and columns
/// are predicted classes.
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`.
///
/// # Errors
/// Fails if the shapes do not match, if there are no classes, or if a class index is out of range.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::train::metrics::confusion_matrix;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [1., 2.]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32, 1, 1], &Device::Cpu)?;
/// assert_eq!(confusion_matrix(&logits, &target)?.to_vec2::<i64>()?, [[1, 0], [1, 1]]);
/// # Ok(())
/// # }
/// ```
pub fn confusion_matrix(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    check("confusion_matrix", logits, target)?;
    let classes = logits.dim(1)?;
    let mut counts = vec![0i64; classes * classes];
    if target.elem_count() > 0 {
        let predicted = logits.argmax(1)?.flatten_all()?.to_vec1::<u32>()?;
        let truth = target.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        for (truth, predicted) in truth.into_iter().zip(predicted) {
            let row = usize::try_from(truth).ok().filter(|&t| t < classes).ok_or_else(|| {
                let message = format!("class index {truth} is out of range for {classes} classes");
                Error::msg(message).in_layer("confusion_matrix")
            })?;
            counts[row * classes + predicted as usize] += 1;
        }
    }
    Ok(Tensor::from_vec(counts, (classes, classes), &candle_core::Device::Cpu)?)
}

/// A running mean over batches, weighted by the number of examples.
///
/// ```
/// use sconce::train::metrics::Mean;
///
/// let mut loss = Mean::default();
/// loss.add(1., 64);
/// loss.add(4., 32);
/// assert_eq!(loss.value(), 2.);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds a batch of `examples` examples whose mean is `value`.
    pub fn add(&mut self, value: f64, examples: usize) {
        self.sum += value * examples as f64;
        self.weight += examples as f64;
    }

    /// Returns the mean over all examples so far, or NaN if there are none.
    pub fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

/// Returns an error unless `target` has the shape of `logits` without dimension 1.
fn check(metric: &str, logits: &Tensor, target: &Tensor) -> Result<()> {
    let logits = logits.dims();
    let target = target.dims();
    let ranks_match = logits.len() >= 2 && logits[1] > 0 && target.len() + 1 == logits.len();
    if ranks_match && target[0] == logits[0] && target[1..] == logits[2..] {
        return Ok(());
    }
    let message = format!(
        "expected logits [batch, classes, …] and classes [batch, …], found {logits:?} and {target:?}"
    );
    Err(Error::msg(message).in_layer(metric))
}

/// Returns the mean of a mask.
fn mean(mask: &Tensor) -> Result<f64> {
    Ok(mask.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
}
