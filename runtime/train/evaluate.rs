//! How good a network is on data it does not learn from.

use std::borrow::Cow;
use std::fmt;

use candle_core::{DType, Tensor};

use super::data::Batches;
use super::loss::Loss;
use super::metrics::{Mean, accuracy};
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
    for batch in data.epoch()? {
        let (input, target) = batch?;
        if is_empty(&input) {
            continue;
        }
        let output = run(&twin, &input, Mode::Eval)?;
        tally.add(scalar(&loss.forward(&output, &target)?)?, &output, &target)?;
    }
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
    if loss.rank() > 0 {
        let message = format!("expected a scalar loss, got one {:?}: reduce it to a mean", loss.dims());
        return Err(Error::msg(message));
    }
    Ok(loss.detach().to_dtype(DType::F64)?.to_scalar()?)
}

/// Losses and accuracies of the batches so far.
#[derive(Default)]
pub(super) struct Tally {
    loss: Mean,
    accuracy: Mean,
    examples: usize,
    classes: bool,
}

impl Tally {
    /// Counts a batch.
    pub(super) fn add(&mut self, loss: f64, output: &Tensor, target: &Tensor) -> Result<()> {
        let examples = output.dims().first().copied().unwrap_or(1);
        self.examples += examples;
        self.loss.add(loss, examples);
        if are_classes(output, target) {
            self.classes = true;
            self.accuracy.add(accuracy(&output.detach(), target)?, examples);
        }
        Ok(())
    }

    /// The mean loss so far.
    pub(super) fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// The means, unless there was no example.
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
