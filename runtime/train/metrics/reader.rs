//! Reads the batches of metrics: logits with class indices, or outputs and targets that are numbers.

use candle_core::{Device, Tensor};

use crate::kernels::internal::on_cpu_in_f64;
use crate::{Error, Result};

use super::state::StateReader;

/// The number of logits that are converted to f64 together, unless one example has more.
const LOGITS_PER_CHUNK: usize = 1 << 16;

/// The shape of the logits that a metric of class indices accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogitShape {
    /// `[batch, classes, …]`.
    Classes,
    /// The target's shape, or `[batch, 2, …]`.
    Binary,
}

/// Reads logits and class indices for one metric.
///
/// A binary logit `z` counts as the logits `[0, z]`, so that no metric has a second definition for binary logits.
#[derive(Clone, Debug)]
pub(super) struct ClassReader {
    metric: &'static str,
    logit_shape: LogitShape,
    pub ignore_index: i64,
    /// The number of classes, known after the first batch.
    classes: Option<usize>,
}

impl ClassReader {
    pub fn new(metric: &'static str, logit_shape: LogitShape) -> Self {
        Self { metric, logit_shape, ignore_index: -100, classes: None }
    }

    /// Calls `add` with the class and the logits of each element that is not ignored, and returns the resulting state.
    /// `new` gets the number of classes and creates the state.
    ///
    /// # Errors
    /// Fails if the shapes do not match, if a class index is out of range, or if a logit is invalid.
    pub fn read<S>(
        &mut self,
        output: &Tensor,
        target: &Tensor,
        new: impl FnOnce(usize) -> Result<S>,
        add: impl FnMut(&mut S, usize, &[f64]),
    ) -> Result<S> {
        let read = || {
            let classes = self.check_shapes(output.dims(), target.dims())?;
            let mut state = new(classes)?;
            self.visit(output, target, classes, &mut state, add)?;
            Ok((classes, state))
        };
        let (classes, state) = read().map_err(|error: Error| error.in_layer(self.metric))?;
        self.classes = Some(classes);
        Ok(state)
    }

    pub fn logit_shape(&self) -> LogitShape {
        self.logit_shape
    }

    pub fn reset(&mut self) {
        self.classes = None;
    }

    /// Returns the number of classes, or 0 before the first batch.
    pub fn classes(&self) -> usize {
        self.classes.unwrap_or(0)
    }

    /// Returns a reader of a saved state of this metric.
    pub fn state<'s>(&self, state: &'s [f64]) -> StateReader<'s> {
        StateReader::new(self.metric, state)
    }

    /// Restores the number of classes; 0 stands for no batch.
    pub fn restore_classes(&mut self, classes: usize) {
        self.classes = (classes > 0).then_some(classes);
    }

    /// Takes the number of classes of another reader. Fails if both have one and these differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        match (self.classes, other.classes) {
            (Some(classes), Some(others)) if classes != others => Err(Error::msg(format!(
                "expected {classes} classes as in the batches before, found {others}"
            ))
            .in_layer(self.metric)),
            (classes, others) => {
                self.classes = classes.or(others);
                Ok(())
            }
        }
    }

    /// Returns the number of classes, or an error if the shapes do not match.
    fn check_shapes(&self, output: &[usize], target: &[usize]) -> Result<usize> {
        let classes = match (self.logit_shape, class_count(output, target)) {
            (LogitShape::Classes, Some(classes @ 1..)) => classes,
            (LogitShape::Binary, _) if output == target => 2,
            (LogitShape::Binary, Some(2)) => 2,
            (LogitShape::Classes, _) => {
                let expected = "logits [batch, classes, …] and class indices [batch, …]";
                return Err(Error::msg(format!("expected {expected}, found {output:?} and {target:?}")));
            }
            (LogitShape::Binary, _) => {
                let expected = "binary logits of the target's shape or two-class logits [batch, 2, …]";
                return Err(Error::msg(format!(
                    "expected {expected}, found logits {output:?} and a target {target:?}"
                )));
            }
        };
        match self.classes {
            Some(expected) if expected != classes => {
                Err(Error::msg(format!("expected {expected} classes as in earlier batches, found {classes}")))
            }
            _ => Ok(classes),
        }
    }

    /// Calls `add` for each element that is not ignored.
    fn visit<S>(
        &self,
        output: &Tensor,
        target: &Tensor,
        classes: usize,
        state: &mut S,
        mut add: impl FnMut(&mut S, usize, &[f64]),
    ) -> Result<()> {
        let is_binary = output.dims() == target.dims();
        let channels = if is_binary { 1 } else { classes };
        let mut pair = [0.; 2];
        let targets = numbers(target)?;
        for_each_row(output, channels, |index, row| {
            let located = |message| Error::msg(format!("{message} at {:?}", position(target.dims(), index)));
            let Some(class) = self.class(targets[index], classes).map_err(located)? else { return Ok(()) };
            let logits = if is_binary {
                pair[1] = row[0];
                &pair
            } else {
                row
            };
            check_logits(logits).map_err(located)?;
            add(state, class, logits);
            Ok(())
        })
    }

    /// Returns the class of a target, or `None` if the target is ignored.
    fn class(&self, target: f64, classes: usize) -> Result<Option<usize>, String> {
        if target == self.ignore_index as f64 {
            return Ok(None);
        }
        let class = target as usize;
        if class < classes && class as f64 == target {
            return Ok(Some(class));
        }
        let ignored = self.ignore_index;
        Err(format!("expected a class index below {classes}, or {ignored} to ignore it, found {target}"))
    }
}

/// Returns the number of classes if `logits` is a shape `[batch, classes, …]` and `target` the shape `[batch, …]`.
pub(in crate::train) fn class_count(logits: &[usize], target: &[usize]) -> Option<usize> {
    let ranks_match = logits.len() >= 2 && target.len() + 1 == logits.len();
    let shapes_match = ranks_match && target[0] == logits[0] && target[1..] == logits[2..];
    shapes_match.then(|| logits[1])
}

/// Fails if a logit is NaN or +∞, or if no logit is finite.
fn check_logits(logits: &[f64]) -> Result<(), String> {
    match logits.iter().find(|&&logit| logit.is_nan() || logit == f64::INFINITY) {
        Some(logit) => Err(format!("expected finite logits, found {logit}")),
        None if logits.iter().all(|logit| logit.is_infinite()) => {
            Err("expected a finite logit, found only -inf".into())
        }
        None => Ok(()),
    }
}

/// Calls `add` with the index of each element and the row of its logits, in the order of the targets. With `channels`
/// 1, each number in `logits` is a row. Otherwise, `logits` has shape `[batch, channels, …]`.
fn for_each_row(
    logits: &Tensor,
    channels: usize,
    mut add: impl FnMut(usize, &[f64]) -> Result<()>,
) -> Result<()> {
    let elements = logits.elem_count() / channels;
    if elements == 0 {
        return Ok(());
    }
    let examples = if channels == 1 { elements } else { logits.dim(0)? };
    let positions = elements / examples;
    let logits = logits.detach().to_device(&Device::Cpu)?.reshape((examples, channels, positions))?;
    let logits = logits.transpose(1, 2)?;
    let chunk = (LOGITS_PER_CHUNK / (channels * positions)).max(1);
    for first in (0..examples).step_by(chunk) {
        let values = numbers(&logits.narrow(0, first, chunk.min(examples - first))?)?;
        for (row, logits) in values.chunks_exact(channels).enumerate() {
            add(first * positions + row, logits)?;
        }
    }
    Ok(())
}

/// Calls `add` with each number of `output` and of `target`, as f64.
///
/// # Errors
/// Fails if the shapes differ or if a number is not finite. `metric` names the metric in the error.
pub(super) fn read_numbers(
    metric: &str,
    output: &Tensor,
    target: &Tensor,
    mut add: impl FnMut(f64, f64),
) -> Result<()> {
    let fail = |message: String| Err(Error::msg(message).in_layer(metric));
    let dims = output.dims();
    if dims != target.dims() {
        return fail(format!("expected a target of the output's shape {dims:?}, found {:?}", target.dims()));
    }
    for (index, (output, target)) in numbers(output)?.into_iter().zip(numbers(target)?).enumerate() {
        for (number, kind) in [(output, "output"), (target, "target")] {
            if !number.is_finite() {
                return fail(format!(
                    "expected a finite {kind}, found {number} at {:?}",
                    position(dims, index)
                ));
            }
        }
        add(output, target);
    }
    Ok(())
}

/// Returns the elements of a tensor as f64.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(on_cpu_in_f64(tensor)?.flatten_all()?.to_vec1()?)
}

/// Returns the indices along `dims` of the element with the flat index `element`.
fn position(dims: &[usize], mut element: usize) -> Vec<usize> {
    let mut position: Vec<usize> = dims.iter().map(|_| 0).collect();
    for (index, &size) in position.iter_mut().zip(dims).rev() {
        *index = element % size;
        element /= size;
    }
    position
}

/// Returns the class with the largest logit, or the first of several such classes.
pub(super) fn predicted(logits: &[f64]) -> usize {
    let mut best = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = class;
        }
    }
    best
}
