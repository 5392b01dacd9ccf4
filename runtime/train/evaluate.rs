//! Evaluation of a network: mean loss, accuracy and metrics.

use std::borrow::Cow;
use std::fmt;

use candle_core::Tensor;
use indexmap::IndexMap;

use crate::module::{Forward, Mode};
use crate::registry::Network;
use crate::scope::Scope;
use crate::signal::IntoTensors;
use crate::{Error, Result};

use super::batch::Batch;
use super::data::Batches;
use super::distributed::{Ranks, merge_metrics};
use super::loss::Loss;
use super::metrics::Metric;
use super::tally::Tally;
use super::trainable::Trainable;

/// The loss, the accuracy and the metrics of a network on a set of examples.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let net = Linear::config(4, 3).init(&Device::Cpu)?;
/// let mut trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1)).metric(F1::macro_average());
/// let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let evaluation = trainer.evaluate(&(x, Tensor::zeros(8, DType::U32, &Device::Cpu)?))?;
/// assert_eq!(evaluation.examples, 8);
/// // All inputs are equal, so the network gives every example the same class.
/// assert!(matches!(evaluation.accuracy, Some(0. | 1.)));
/// assert_eq!(evaluation.value("f1_macro"), Some(evaluation.metrics["f1_macro"]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
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
    /// The values of the trainer's [metrics](super::Trainer::metric) by name.
    pub metrics: IndexMap<String, f64>,
}

impl Evaluation {
    /// Returns a value by name: the value of the metric `name` or, if there is no such metric, the field `loss` or
    /// `accuracy`.
    pub fn value(&self, name: &str) -> Option<f64> {
        let field = match name {
            LOSS => Some(self.loss),
            ACCURACY => self.accuracy,
            _ => None,
        };
        self.metrics.get(name).copied().or(field)
    }

    /// Returns the names and the values of the loss, the accuracy and the metrics.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        let accuracy = self.accuracy.map(|accuracy| (ACCURACY, accuracy));
        let fields = std::iter::once((LOSS, self.loss)).chain(accuracy);
        let fields = fields.filter(|(name, _)| !self.metrics.contains_key(*name));
        fields.chain(self.metrics.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// The name of [`Evaluation::loss`].
pub(super) const LOSS: &str = "loss";
/// The name of [`Evaluation::accuracy`].
pub(super) const ACCURACY: &str = "accuracy";

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.loss)?;
        if let Some(accuracy) = self.accuracy.filter(|_| !self.metrics.contains_key(ACCURACY)) {
            write!(f, "  accuracy {:.2} %", 100. * accuracy)?;
        }
        self.metrics.iter().try_for_each(|(name, value)| write!(f, "  {name} {value:.4}"))
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
pub fn evaluate<M: Trainable>(
    model: &M,
    data: &impl Batches<Batch = (Tensor, Tensor)>,
) -> Result<Evaluation> {
    evaluate_with(model, &|output: &Tensor, target: &Tensor| model.loss(output, target), &mut [], data, None)
}

/// Evaluates `model` with the given loss and metrics. Resets the metrics before and after the evaluation. With `ranks`,
/// each batch is evaluated by one rank.
pub(super) fn evaluate_with<M, B, O: 'static>(
    model: &M,
    loss: &dyn Loss<O, B::Target>,
    metrics: &mut [Box<dyn Metric<O, B::Target> + '_>],
    data: &dyn Batches<Batch = B>,
    ranks: Option<&Ranks>,
) -> Result<Evaluation>
where
    B: Batch,
    M: Forward<B::Input, Output: IntoTensors<Tensors = O>>,
{
    let detached = model.detached();
    metrics.iter_mut().for_each(|metric| metric.reset());
    let mut tally = Tally::default();
    let epoch = match ranks {
        Some(ranks) => ranks.part_of_epoch(data)?,
        None => data.epoch()?,
    };
    for (index, batch) in epoch.enumerate() {
        let batch = batch?;
        if batch.examples() == 0 {
            continue;
        }
        let output = run_network(&detached, batch.input(), Mode::Eval, &Ok)?;
        let target = batch.target();
        tally.add(index + 1, &loss.forward(&output, target)?, batch.examples(), (&output, target))?;
        update_metrics(metrics, &output, target)?;
    }
    tally.read()?;
    if let Some(ranks) = ranks {
        tally = tally.of_all_ranks(ranks)?;
        merge_metrics(ranks, metrics)?;
    }
    let evaluation = tally.evaluation().ok_or_else(|| Error::msg("the evaluation data has no examples"))?;
    let metrics = take_values(metrics)?;
    Ok(Evaluation { metrics, ..evaluation })
}

/// Adds a batch to every metric.
pub(super) fn update_metrics<O, T>(
    metrics: &mut [Box<dyn Metric<O, T> + '_>],
    output: &O,
    target: &T,
) -> Result<()> {
    metrics.iter_mut().try_for_each(|metric| metric.update(output, target))
}

/// Returns the values of the metrics by name, and resets the metrics.
pub(super) fn take_values<O, T>(metrics: &mut [Box<dyn Metric<O, T> + '_>]) -> Result<IndexMap<String, f64>> {
    let values = metrics.iter().map(|metric| Ok((metric.name(), metric.value()?))).collect();
    metrics.iter_mut().for_each(|metric| metric.reset());
    values
}

/// Runs a network and returns its output with `change(tensor)` in place of each tensor. Paths in errors start with the
/// name of the network's type, unless that name is formatted at run time, as for `InstanceNorm`.
pub(super) fn run_network<M, I, O>(
    model: &M,
    input: I,
    mode: Mode,
    change: &dyn Fn(Tensor) -> Result<Tensor>,
) -> Result<O>
where
    M: Forward<I, Output: IntoTensors<Tensors = O>>,
{
    let _scope = match model.kind() {
        Cow::Borrowed(name) => Scope::root(name),
        Cow::Owned(_) => None,
    };
    model.call(input, mode).map_tensors(change)
}
