//! How good a network is on data it does not learn from.

use std::borrow::Cow;
use std::fmt;

use candle_core::{DType, Tensor};

use super::data::Batches;
use super::loss::Loss;
use super::metrics::{Mean, share_found};
use super::trainable::Trainable;
use crate::module::{Forward, Mode};
use crate::registry::Network;
use crate::scope::Scope;
use crate::signal::Signal;
use crate::{Error, Result};

/// What a network reached on a set of examples.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The mean of the batches' losses, each weighted by its examples.
    pub loss: f64,
    /// The share of examples whose class was found; none where the targets are not class indices.
    pub accuracy: Option<f64>,
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

/// Runs `model` over `data` in [`Mode::Eval`], without a graph, and takes the loss it was given.
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
/// #     fn call(&self, x: Signal, mode: Mode) -> Signal { self.0.call(x, mode) }
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
/// There is no example, or the forward pass or the loss fails.
pub fn evaluate<M: Trainable>(model: &M, data: &impl Batches) -> Result<Evaluation> {
    measure(model, &|output: &Tensor, target: &Tensor| model.loss(output, target), data)
}

/// [`evaluate`] with any loss.
pub(super) fn measure<M>(model: &M, loss: &dyn Loss, data: &(impl Batches + ?Sized)) -> Result<Evaluation>
where
    M: Forward<Signal, Output = Signal>,
{
    let twin = model.detached();
    let mut tally = Tally::default();
    for (index, batch) in data.epoch()?.enumerate() {
        let (input, target) = batch?;
        if is_empty(&input) {
            continue;
        }
        let output = run(&twin, &input, Mode::Eval)?;
        tally.add(index + 1, &loss.forward(&output, &target)?, &output, &target)?;
    }
    tally.read()?;
    tally.finish().ok_or_else(|| Error::msg("there is no example to evaluate the network on"))
}

/// The network's output, with its name at the head of the path in errors.
pub(super) fn run<M>(model: &M, input: &Tensor, mode: Mode) -> Result<Tensor>
where
    M: Forward<Signal, Output = Signal>,
{
    let _scope = match model.kind() {
        Cow::Borrowed(name) => Scope::root(name),
        Cow::Owned(_) => None,
    };
    model.call(input.into(), mode).into_tensor()
}

/// Whether a batch has no examples: there is nothing to learn from it, and its mean loss is NaN.
pub(super) fn is_empty(input: &Tensor) -> bool {
    input.dims().first() == Some(&0)
}

/// The value of a loss.
pub(super) fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(unread(loss)?.to_scalar()?)
}

/// A loss as a scalar of f64, still on its device.
fn unread(loss: &Tensor) -> Result<Tensor> {
    if loss.rank() > 0 {
        let message = format!("expected a scalar loss, got one {:?}: reduce it to a mean", loss.dims());
        return Err(Error::msg(message));
    }
    Ok(loss.detach().to_dtype(DType::F64)?)
}

/// Losses and accuracies of the batches so far.
///
/// To read a number from a GPU is to wait for all that it has to do, and then to let it wait in turn. So there
/// the numbers of many batches are read at once; on the CPU each batch's at once.
#[derive(Default)]
pub(super) struct Tally {
    loss: Mean,
    accuracy: Mean,
    examples: usize,
    classes: bool,
    unread: Vec<Unread>,
}

/// The numbers of one batch, on their device.
struct Unread {
    batch: usize,
    examples: usize,
    loss: Tensor,
    accuracy: Option<Tensor>,
}

/// A batch's loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLoss {
    pub batch: usize,
    pub loss: f64,
}

impl Tally {
    /// Batches whose numbers wait on a device to be read together.
    const BATCHES: usize = 32;

    /// Counts batch number `batch`; what of the losses could be read now, in order.
    pub(super) fn add(
        &mut self,
        batch: usize,
        loss: &Tensor,
        output: &Tensor,
        target: &Tensor,
    ) -> Result<Vec<BatchLoss>> {
        self.note(batch, loss, output, target)?;
        // The first at once: it shows whether training begins well.
        let due = self.examples == 0 || self.unread.len() == Self::BATCHES || loss.device().is_cpu();
        if due { self.read() } else { Ok(Vec::new()) }
    }

    fn note(&mut self, batch: usize, loss: &Tensor, output: &Tensor, target: &Tensor) -> Result<()> {
        let examples = output.dims().first().copied().unwrap_or(1);
        let accuracy = match are_classes(output, target) {
            // Of no elements there is no mean to compute.
            true if target.elem_count() == 0 => Some(Tensor::new(f64::NAN, loss.device())?),
            true => Some(share_found(&output.detach(), target)?),
            false => None,
        };
        self.unread.push(Unread { batch, examples, loss: unread(loss)?, accuracy });
        Ok(())
    }

    /// Reads what waits.
    pub(super) fn read(&mut self) -> Result<Vec<BatchLoss>> {
        let unread = std::mem::take(&mut self.unread);
        let numbers = unread.iter().flat_map(|batch| [Some(&batch.loss), batch.accuracy.as_ref()]);
        let numbers: Vec<&Tensor> = numbers.flatten().collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut numbers = Tensor::stack(&numbers, 0)?.to_vec1::<f64>()?.into_iter();
        let mut losses = Vec::with_capacity(unread.len());
        for Unread { batch, examples, accuracy, .. } in unread {
            let Some(loss) = numbers.next() else { break };
            self.examples += examples;
            self.loss.add(loss, examples);
            if let Some(accuracy) = accuracy.and_then(|_| numbers.next()) {
                self.classes = true;
                self.accuracy.add(accuracy, examples);
            }
            losses.push(BatchLoss { batch, loss });
        }
        Ok(losses)
    }

    /// The mean of the losses read so far.
    pub(super) fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// The means of what is read, unless there was no example.
    pub(super) fn finish(&self) -> Option<Evaluation> {
        let accuracy = self.classes.then(|| self.accuracy.value());
        let (loss, examples) = (self.loss.value(), self.examples);
        (examples > 0).then_some(Evaluation { loss, accuracy, examples })
    }
}

/// Whether `target` `[batch, …]` holds class indices for logits `[batch, classes, …]`.
fn are_classes(logits: &Tensor, target: &Tensor) -> bool {
    let (logits, dims) = (logits.dims(), target.dims());
    let fits = logits.len() >= 2 && dims.len() + 1 == logits.len();
    fits && target.dtype().is_int() && dims[0] == logits[0] && dims[1..] == logits[2..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn numbers_read_together_are_those_read_one_by_one() -> Result<()> {
        let logits = Tensor::new(&[[2f32, 1., 0.], [0., 1., 2.], [1., 2., 0.]], &Device::Cpu)?;
        let (mut together, mut one_by_one) = (Tally::default(), Tally::default());
        let mut losses = Vec::new();
        for (batch, loss, target, rows) in
            [(1, 0.5, vec![0u32, 1, 1], 3), (2, f64::INFINITY, vec![], 0), (4, 0.25, vec![1, 2], 2)]
        {
            let target = Tensor::from_vec(target, rows, &Device::Cpu)?;
            let (loss, logits) = (Tensor::new(loss, &Device::Cpu)?, logits.narrow(0, 0, rows)?);
            together.note(batch, &loss, &logits, &target)?;
            losses.extend(one_by_one.add(batch, &loss, &logits, &target)?);
        }
        let read: Vec<_> = together.read()?.into_iter().map(|read| (read.batch, read.loss)).collect();
        assert_eq!(read, losses.into_iter().map(|read| (read.batch, read.loss)).collect::<Vec<_>>());
        assert_eq!(read, [(1, 0.5), (2, f64::INFINITY), (4, 0.25)]);
        assert_eq!(together.examples, 5);
        assert_eq!(together.accuracy.value().to_bits(), one_by_one.accuracy.value().to_bits());
        Ok(())
    }
}
