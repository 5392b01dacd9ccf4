//! Evaluation of a network: mean loss and accuracy.

use std::borrow::Cow;
use std::fmt;

use candle_core::{DType, Tensor};

use crate::module::{Forward, Mode};
use crate::registry::Network;
use crate::scope::Scope;
use crate::signal::Signal;
use crate::{Error, Result};

use super::data::Batches;
use super::loss::Loss;
use super::metrics::{Mean, class_count, count_correct};
use super::trainable::Trainable;

/// The loss and the accuracy of a network on a set of examples.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(4, 3).init(&Device::Cpu)?;
/// let trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1));
/// let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let evaluation = trainer.evaluate(&(x, Tensor::zeros(8, DType::U32, &Device::Cpu)?))?;
/// assert_eq!(evaluation.examples, 8);
/// // All inputs are equal, so the network gives every example the same class.
/// assert!(matches!(evaluation.accuracy, Some(0. | 1.)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The mean of the batch losses, weighted by the number of examples in each batch.
    pub loss: f64,
    /// The fraction of correctly classified elements, or `None` if the targets are not class indices. Elements whose
    /// target is −100 do not count. The `ignore_index` of the loss has no effect: for another index, use
    /// [`Accuracy`](super::metrics::Accuracy).
    pub accuracy: Option<f64>,
    /// The number of examples.
    pub examples: usize,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.loss)?;
        match self.accuracy {
            Some(accuracy) => write!(f, "  accuracy {:.2} %", 100. * accuracy),
            None => Ok(()),
        }
    }
}

/// Returns the loss of `model` on `data`, and the accuracy if the targets are class indices.
///
/// Runs the network in [`Mode::Eval`] without recording a graph, and uses the network's [loss](Trainable::loss).
///
/// ```
/// use sconce::prelude::*;
/// # use std::borrow::Cow;
/// # use sconce::{Visitor, VisitorMut};
/// # struct Line(Linear);
/// # impl Module for Line {
/// #     fn kind(&self) -> Cow<'static, str> { "Line".into() }
/// #     fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) { visitor.child("0", &self.0) }
/// #     fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) { visitor.child("0", &mut self.0) }
/// #     fn share(&self) -> Self { Line(self.0.share()) }
/// # }
/// # impl Forward for Line {
/// #     type Output = Signal;
/// #     fn forward_pass(&self, x: Signal, mode: Mode) -> Signal { self.0.call(x, mode) }
/// # }
/// impl Trainable for Line {
///     fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
///         mse_loss(output, target)
///     }
///     fn optimizer(&self) -> Box<dyn Optimizer> {
///         Box::new(Sgd::new(0.1))
///     }
/// }
/// # fn main() -> Result<()> {
/// # let line = Line(Linear::config(1, 1).init(&Device::Cpu)?);
/// let x = Tensor::arange(0f32, 1., &Device::Cpu)?.reshape((1, 1))?;
/// let y = (&x * 2.)?;
/// let evaluation = sconce::train::evaluate(&line, &(x, y))?;
/// assert_eq!((evaluation.examples, evaluation.accuracy), (1, None));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if there are no examples, or if the forward pass or the loss fails.
pub fn evaluate<M: Trainable>(model: &M, data: &impl Batches) -> Result<Evaluation> {
    evaluate_with(model, &|output: &Tensor, target: &Tensor| model.loss(output, target), data)
}

/// Evaluates `model` with the given loss.
pub(super) fn evaluate_with<M>(
    model: &M,
    loss: &dyn Loss,
    data: &(impl Batches + ?Sized),
) -> Result<Evaluation>
where
    M: Forward<Signal, Output = Signal>,
{
    let detached = model.detached();
    let mut tally = Tally::default();
    for (index, batch) in data.epoch()?.enumerate() {
        let (input, target) = batch?;
        if is_empty(&input) {
            continue;
        }
        let output = run_network(&detached, &input, Mode::Eval)?;
        tally.add(index + 1, &loss.forward(&output, &target)?, &output, &target)?;
    }
    tally.read()?;
    tally.evaluation().ok_or_else(|| Error::msg("the evaluation data has no examples"))
}

/// Runs a network and returns its output. Paths in errors start with the name of the network's type, unless that name
/// is formatted at run time, as for `InstanceNorm`.
pub(super) fn run_network<M>(model: &M, input: &Tensor, mode: Mode) -> Result<Tensor>
where
    M: Forward<Signal, Output = Signal>,
{
    let _scope = match model.kind() {
        Cow::Borrowed(name) => Scope::root(name),
        Cow::Owned(_) => None,
    };
    model.call(input.into(), mode).into_tensor()
}

/// Returns `true` if a batch has no examples. The mean loss of an empty batch would be NaN.
pub(super) fn is_empty(input: &Tensor) -> bool {
    input.dims().first() == Some(&0)
}

/// Returns the value of a loss.
pub(super) fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(scalar_tensor(loss)?.to_scalar()?)
}

/// Returns `loss` as an f64 scalar on the same device.
fn scalar_tensor(loss: &Tensor) -> Result<Tensor> {
    if loss.rank() > 0 {
        let message = format!("expected a scalar loss, found shape {:?}: reduce it to its mean", loss.dims());
        return Err(Error::msg(message));
    }
    Ok(loss.detach().to_dtype(DType::F64)?)
}

/// The accumulated losses and accuracies of an epoch.
///
/// Reading a scalar from a GPU synchronizes the GPU, so the values of several batches are read together. On the CPU
/// every value is read immediately.
#[derive(Default)]
pub(super) struct Tally {
    loss: Mean,
    /// The numbers of correct elements and of elements, if the targets are class indices.
    correct: Option<[f64; 2]>,
    examples: usize,
    unread: Vec<Unread>,
}

/// The loss and the numbers of correct elements and of elements of one batch, not yet read from the device.
struct Unread {
    batch: usize,
    examples: usize,
    loss: Tensor,
    correct: Option<Tensor>,
}

/// The loss of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLoss {
    pub batch: usize,
    pub loss: f64,
}

impl Tally {
    /// The number of batches whose values are read from a GPU together.
    const BATCHES_PER_READ: usize = 32;

    /// Adds a batch. May read the values of this batch and of earlier ones from the device, and returns the losses that
    /// it read, in the order of the batches.
    pub(super) fn add(
        &mut self,
        batch: usize,
        loss: &Tensor,
        output: &Tensor,
        target: &Tensor,
    ) -> Result<Vec<BatchLoss>> {
        self.record(batch, loss, output, target)?;
        // Read the first loss immediately, to detect early that training fails from the start.
        let is_due =
            self.examples == 0 || self.unread.len() == Self::BATCHES_PER_READ || loss.device().is_cpu();
        if is_due { self.read() } else { Ok(Vec::new()) }
    }

    /// Adds a batch without reading its values from the device.
    fn record(&mut self, batch: usize, loss: &Tensor, output: &Tensor, target: &Tensor) -> Result<()> {
        let examples = output.dims().first().copied().unwrap_or(1);
        let has_classes = are_classes(output, target);
        let correct = has_classes.then(|| count_correct(&output.detach(), target)).transpose()?;
        self.unread.push(Unread { batch, examples, loss: scalar_tensor(loss)?, correct });
        Ok(())
    }

    /// Reads all recorded values from the device and returns the losses, in the order of the batches.
    pub(super) fn read(&mut self) -> Result<Vec<BatchLoss>> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Vec::new();
        for batch in &unread {
            values.push(batch.loss.reshape(1)?);
            values.extend(batch.correct.clone());
        }
        let mut values = Tensor::cat(&values, 0)?.to_vec1::<f64>()?.into_iter();
        let mut next = || values.next().unwrap_or(f64::NAN);
        let mut losses = Vec::with_capacity(unread.len());
        for Unread { batch, examples, correct, .. } in unread {
            let loss = next();
            self.examples += examples;
            self.loss.add(loss, examples);
            if correct.is_some() {
                let [correct, elements] = self.correct.unwrap_or_default();
                self.correct = Some([correct + next(), elements + next()]);
            }
            losses.push(BatchLoss { batch, loss });
        }
        Ok(losses)
    }

    /// Returns the mean of the losses read so far.
    pub(super) fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// Returns the means of the values read so far, or `None` if there were no examples.
    pub(super) fn evaluation(&self) -> Option<Evaluation> {
        let accuracy = self.correct.map(|[correct, elements]| correct / elements);
        let examples = self.examples;
        (examples > 0).then_some(Evaluation { loss: self.loss.value(), accuracy, examples })
    }
}

/// Returns `true` if `target` `[batch, …]` holds class indices for logits `[batch, classes, …]`.
fn are_classes(logits: &Tensor, target: &Tensor) -> bool {
    target.dtype().is_int() && class_count(logits.dims(), target.dims()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn reading_batches_together_equals_reading_each_batch() -> Result<()> {
        let logits = Tensor::new(&[[2f32, 1., 0.], [0., 1., 2.], [1., 2., 0.]], &Device::Cpu)?;
        let mut together = Tally::default();
        let mut one_by_one = Tally::default();
        let mut losses = Vec::new();
        for (batch, loss, target, examples) in
            [(1, 0.5, vec![0u32, 1, 1], 3), (2, f64::INFINITY, vec![], 0), (4, 0.25, vec![1, 2], 2)]
        {
            let target = Tensor::from_vec(target, examples, &Device::Cpu)?;
            let loss = Tensor::new(loss, &Device::Cpu)?;
            let logits = logits.narrow(0, 0, examples)?;
            together.record(batch, &loss, &logits, &target)?;
            losses.extend(one_by_one.add(batch, &loss, &logits, &target)?);
        }
        let read: Vec<_> = together.read()?.into_iter().map(|read| (read.batch, read.loss)).collect();
        assert_eq!(read, losses.into_iter().map(|read| (read.batch, read.loss)).collect::<Vec<_>>());
        assert_eq!(read, [(1, 0.5), (2, f64::INFINITY), (4, 0.25)]);
        assert_eq!(together.examples, 5);
        assert_eq!(together.correct, Some([3., 5.]));
        assert_eq!(together.correct, one_by_one.correct);
        Ok(())
    }
}
