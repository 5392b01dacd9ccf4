//! Accuracy.

use candle_core::{DType, Tensor};

use crate::kernels::internal::{widest_dtype, with_elements};
use crate::{Error, Result};

use super::Metric;
use super::reader::{ClassReader, LogitShape};
use super::state::numbers;

/// The fraction of elements whose target class is among the `k` largest logits.
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices `[batch, …]`. If logits are equal, the logit of
/// the lower class counts as larger, so that `Accuracy::top(1)` counts the elements whose target is the predicted
/// class. (scikit-learn's `top_k_accuracy_score` prefers the higher class.)
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let (mut first, mut second) = (Accuracy::top(1), Accuracy::top(2));
/// first.update(&logits, &target)?;
/// second.update(&logits, &target)?;
/// assert_eq!((first.value()?, second.value()?), (0.5, 1.));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Accuracy {
    k: usize,
    reader: ClassReader,
    hits: Hits,
}

/// The number of correct elements, and the number of all elements that are not ignored.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    correct: u64,
    elements: u64,
}

/// The target of elements that are ignored.
const IGNORED: i64 = -100;

impl Accuracy {
    /// Creates the metric. [`update`](Metric::update) fails if `k` is 0. If there are not more than `k` classes, all
    /// elements are correct.
    pub fn top(k: usize) -> Self {
        Self { k, reader: ClassReader::new("Accuracy", LogitShape::Classes), hits: Hits::default() }
    }

    /// Creates the metric for binary logits: the fraction of elements for which `logit > 0` equals the target.
    ///
    /// Logits and targets (0 or 1) have the same shape, as in
    /// [`bce_with_logits`](crate::train::loss::bce_with_logits). Two-class logits `[batch, 2, …]` with class indices
    /// `[batch, …]` are also accepted.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut accuracy = Accuracy::binary();
    /// let logits = Tensor::new(&[-2f32, 0.5, 3., -1.], &Device::Cpu)?;
    /// accuracy.update(&logits, &Tensor::new(&[0u32, 1, 0, 0], &Device::Cpu)?)?;
    /// assert_eq!(accuracy.value()?, 0.75);
    /// # Ok(())
    /// # }
    /// ```
    pub fn binary() -> Self {
        Self { reader: ClassReader::new("Accuracy", LogitShape::Binary), ..Self::top(1) }
    }

    /// Sets the target index of the elements to ignore, by default −100.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.reader.ignore_index = index;
        self
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        match self.k {
            1 => "accuracy".into(),
            k => format!("top_{k}_accuracy"),
        }
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let k = self.k;
        if k == 0 {
            return Err(Error::msg("expected k of at least 1, found 0").in_layer("Accuracy"));
        }
        let new = |_| Ok(Hits::default());
        let hits = self.reader.read(output, target, new, |hits, class, logits| {
            hits.elements += 1;
            hits.correct += u64::from(rank(logits, class) < k);
        })?;
        self.hits.elements += hits.elements;
        self.hits.correct += hits.correct;
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        Ok(self.hits.correct as f64 / self.hits.elements as f64)
    }

    fn reset(&mut self) {
        self.reader.reset();
        self.hits = Hits::default();
    }

    fn state(&self) -> Result<Vec<f64>> {
        Ok(numbers([self.reader.classes() as u64, self.hits.correct, self.hits.elements]))
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut state = self.reader.state(state);
        let classes = state.count()? as usize;
        let hits = Hits { correct: state.count()?, elements: state.count()? };
        state.finish()?;
        self.reader.restore_classes(classes);
        self.hits = hits;
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        self.reader.merge(&other.reader)?;
        self.hits.correct += other.hits.correct;
        self.hits.elements += other.hits.elements;
        Ok(())
    }

    fn higher_is_better(&self) -> bool {
        true
    }
}

/// Returns the number of classes that come before `class` when classes are sorted by decreasing logit.
fn rank(logits: &[f64], class: usize) -> usize {
    let logit = logits[class];
    let (before, after) = logits.split_at(class);
    before.iter().filter(|&&other| other >= logit).count()
        + after.iter().filter(|&&other| other > logit).count()
}

/// Returns two counts in a tensor `[2]` of [`widest_dtype`] on the device of the logits: the number of correct
/// elements, as in [`Accuracy::top(1)`](Accuracy::top), and the number of elements that are not ignored. The caller
/// must check the shapes.
///
/// Unlike [`Accuracy`], the function does not wait for a GPU, and it does not check the values.
pub(in crate::train) fn count_correct(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let target = target.to_dtype(DType::I64)?;
    if logits.elem_count() == 0 {
        Ok(Tensor::zeros(2, widest_dtype(logits.device()), logits.device())?)
    } else if logits.device().is_cpu() {
        Ok(Tensor::new(&count_on_cpu(logits, &target)?, logits.device())?)
    } else {
        count_with_tensors(logits, &target)
    }
}

/// Does the work of [`count_correct`] on a GPU, with tensor operations. On the CPU, these operations would noticeably
/// slow down the steps of small networks.
fn count_with_tensors(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let dtype = widest_dtype(logits.device());
    let counted = target.ne(IGNORED)?.to_dtype(dtype)?;
    let correct = logits.argmax(1)?.to_dtype(DType::I64)?.eq(target)?.to_dtype(dtype)?;
    // No predicted class equals an ignored target, which is negative.
    Ok(Tensor::stack(&[correct.sum_all()?, counted.sum_all()?], 0)?)
}

/// Does the work of [`count_correct`] on the CPU.
fn count_on_cpu(logits: &Tensor, target: &Tensor) -> Result<[f64; 2]> {
    let dims = logits.dims();
    let (classes, positions) = (dims[1], dims[2..].iter().product());
    let predicted = match logits.dtype() {
        DType::F32 => with_elements::<f32, _>(logits, |x| predictions(x, classes, positions)),
        _ => with_elements::<f64, _>(&logits.to_dtype(DType::F64)?, |x| predictions(x, classes, positions)),
    }?;
    let target = target.flatten_all()?.to_vec1::<i64>()?;
    let correct = predicted.iter().zip(&target).filter(|(predicted, target)| predicted == target).count();
    let counted = target.iter().filter(|target| **target != IGNORED).count();
    Ok([correct as f64, counted as f64])
}

/// Returns the class with the largest logit for each element of the batch and each position. The shape of
/// `logits` is `[batch, classes, positions]`.
fn predictions<T: Copy + PartialOrd>(logits: &[T], classes: usize, positions: usize) -> Vec<i64> {
    let mut predicted = Vec::new();
    let mut largest = Vec::new();
    for logits in logits.chunks_exact(classes * positions) {
        let start = predicted.len();
        predicted.resize(start + positions, 0);
        largest.clear();
        largest.extend_from_slice(&logits[..positions]);
        for (class, logits) in (0..).zip(logits.chunks_exact(positions)) {
            for ((logit, largest), predicted) in logits.iter().zip(&mut largest).zip(&mut predicted[start..])
            {
                if *logit > *largest {
                    (*largest, *predicted) = (*logit, class);
                }
            }
        }
    }
    predicted
}

/// Returns the accuracy of one batch.
fn batch_accuracy(mut metric: Accuracy, name: &str, logits: &Tensor, target: &Tensor) -> Result<f64> {
    metric.update(logits, target).map_err(|error| Error::msg(error.message()).in_layer(name))?;
    metric.value()
}

/// Returns the fraction of elements whose target class has the largest logit, or NaN if there are no elements. See
/// [`Accuracy::top`].
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`.
///
/// # Errors
/// Fails if the shapes do not match, if there are no classes, if a class index is out of range, if a logit is NaN or
/// +∞, or if no logit of an element is finite. Elements whose target is −100 are ignored and not checked.
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
    batch_accuracy(Accuracy::top(1), "accuracy", logits, target)
}

/// Returns the fraction of elements whose target class is among the `k` largest logits, or NaN if there are no
/// elements. See [`Accuracy::top`].
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`.
///
/// # Errors
/// Fails if `k` is 0, if the shapes do not match, if there are no classes, if a class index is out of range, if a logit
/// is NaN or +∞, or if no logit of an element is finite. Elements whose target is −100 are ignored and not checked.
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
    batch_accuracy(Accuracy::top(k), "top_k_accuracy", logits, target)
}

/// Returns the fraction of elements for which `logit > 0` equals the target, or NaN if there are no elements. See
/// [`Accuracy::binary`].
///
/// Logits and targets (0 or 1) have the same shape, as in [`bce_with_logits`](crate::train::loss::bce_with_logits).
///
/// # Errors
/// Fails if the shapes differ, if a target is neither 0 nor 1, or if a logit is NaN or +∞.
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
    batch_accuracy(Accuracy::binary(), "binary_accuracy", logits, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn all_ways_to_count_correct_elements_agree() -> Result<()> {
        let logits: Vec<f32> = (0..7 * 4 * 5).map(|i| ((i * 37 + i / 3) % 5) as f32).collect(); // with many ties
        let logits = Tensor::from_vec(logits, (7, 4, 5), &Device::Cpu)?;
        let target: Vec<i64> = (0..7 * 5).map(|i| if i % 6 == 0 { -100 } else { i * 11 % 4 }).collect();
        let target = Tensor::from_vec(target, (7, 5), &Device::Cpu)?;
        let mut metric = Accuracy::top(1);
        metric.update(&logits, &target)?;
        let expected = [metric.hits.correct as f64, metric.hits.elements as f64];
        assert_eq!(count_with_tensors(&logits, &target)?.to_vec1::<f64>()?, expected);
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            assert_eq!(count_on_cpu(&logits.to_dtype(dtype)?, &target)?, expected);
        }
        assert_eq!(metric.hits.elements, 29);
        Ok(())
    }
}
