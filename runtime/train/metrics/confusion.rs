//! The confusion matrix.

use std::fmt;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

use super::Metric;
use super::reader::{ClassReader, LogitShape, predicted};
use super::state::numbers;

/// The maximum number of classes of a confusion matrix. The counts of that many classes occupy 2 GiB.
const MAX_CLASSES: usize = 1 << 14;

/// The number of elements for each pair of target class and predicted class.
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices `[batch, …]`. As a [`Metric`], the value is the
/// accuracy. Displays as a table, or with more than 20 classes as a list of the most frequent errors.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut matrix = ConfusionMatrix::new();
/// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [1., 2.]], &Device::Cpu)?;
/// matrix.update(&logits, &Tensor::new(&[0u32, 1, 1], &Device::Cpu)?)?;
/// assert_eq!(matrix.count(1, 0), 1); // one element of class 1 is predicted to be of class 0
/// assert_eq!(matrix.to_tensor()?.to_vec2::<i64>()?, [[1, 0], [1, 1]]);
/// let table = matrix.to_string();
/// let lines: Vec<&str> = table.lines().collect();
/// assert_eq!(
///     lines,
///     [
///         r"target \ predicted  0  1",
///         r"                 0  1  0",
///         r"                 1  1  1",
///     ]
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    reader: ClassReader,
    classes: usize,
    /// Row by row, with a row for each target class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// Creates the matrix for class logits. [`update`](Metric::update) fails if there are more than 16,384 classes.
    pub fn new() -> Self {
        Self::with_logit_shape(LogitShape::Classes)
    }

    /// Creates the matrix for binary logits with targets (0 or 1) of the same shape.
    pub fn binary() -> Self {
        Self::with_logit_shape(LogitShape::Binary)
    }

    fn with_logit_shape(logit_shape: LogitShape) -> Self {
        Self { reader: ClassReader::new("ConfusionMatrix", logit_shape), classes: 0, counts: Vec::new() }
    }

    /// Sets the target index of the elements to ignore, by default −100.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.reader.ignore_index = index;
        self
    }

    /// Returns the number of classes, or 0 before the first batch.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Returns the number of elements of class `target` that are predicted to be of class `predicted`, or 0 if there
    /// are no such classes.
    pub fn count(&self, target: usize, predicted: usize) -> u64 {
        if target.max(predicted) < self.classes { self.counts[target * self.classes + predicted] } else { 0 }
    }

    /// Returns the counts as an I64 tensor `[classes, classes]` on the CPU. Rows are target classes and columns are
    /// predicted classes.
    ///
    /// # Errors
    /// Fails if the tensor cannot be created.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let counts: Vec<i64> = self.counts.iter().map(|&count| count as i64).collect();
        Ok(Tensor::from_vec(counts, (self.classes, self.classes), &Device::Cpu)?)
    }

    /// Returns the kinds of wrong predictions that occur, sorted by decreasing count. Each has the count, the target
    /// class and the predicted class.
    fn errors(&self) -> Vec<(u64, usize, usize)> {
        let pairs = self.counts.iter().enumerate();
        let pairs = pairs.map(|(i, &count)| (count, i / self.classes, i % self.classes));
        let mut errors: Vec<_> =
            pairs.filter(|&(count, target, predicted)| count > 0 && target != predicted).collect();
        errors.sort_by_key(|&(count, target, predicted)| (std::cmp::Reverse(count), target, predicted));
        errors
    }

    /// Returns the number of elements, and the number of elements on the diagonal.
    fn totals(&self) -> [u64; 2] {
        [self.counts.iter().sum(), (0..self.classes).map(|class| self.count(class, class)).sum()]
    }
}

impl Default for ConfusionMatrix {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric for ConfusionMatrix {
    fn name(&self) -> String {
        "accuracy".into()
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let new = |classes| {
            if classes > MAX_CLASSES {
                return Err(Error::msg(format!("expected at most {MAX_CLASSES} classes, found {classes}")));
            }
            Ok((classes, Vec::new()))
        };
        let (classes, batch) = self.reader.read(output, target, new, |(classes, cells), class, logits| {
            cells.push(class * *classes + predicted(logits));
        })?;
        self.classes = classes;
        self.counts.resize(classes * classes, 0);
        batch.into_iter().for_each(|cell| self.counts[cell] += 1);
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        let [elements, correct] = self.totals();
        Ok(correct as f64 / elements as f64)
    }

    fn reset(&mut self) {
        self.reader.reset();
        self.classes = 0;
        self.counts.clear();
    }

    fn state(&self) -> Result<Vec<f64>> {
        Ok(numbers(self.counts.iter().copied()))
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut reader = self.reader.state(state);
        let classes = state.len().isqrt();
        if classes * classes != state.len() {
            return Err(reader.invalid());
        }
        let counts = (0..state.len()).map(|_| reader.count()).collect::<Result<Vec<_>>>()?;
        self.reader.restore_classes(classes);
        self.classes = classes;
        self.counts = counts;
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        self.reader.merge(&other.reader)?;
        self.classes = self.classes.max(other.classes);
        self.counts.resize(self.classes * self.classes, 0);
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    fn higher_is_better(&self) -> bool {
        true
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_TABLE_CLASSES: usize = 20;
        const MAX_LISTED_ERRORS: usize = 10;
        if self.classes <= MAX_TABLE_CLASSES {
            return self.fmt_table(f);
        }
        let [elements, correct] = self.totals();
        writeln!(f, "{} classes, {correct} of {elements} elements correct", self.classes)?;
        for (count, target, predicted) in self.errors().into_iter().take(MAX_LISTED_ERRORS) {
            writeln!(f, "{count} of class {target} predicted as {predicted}")?;
        }
        Ok(())
    }
}

impl ConfusionMatrix {
    fn fmt_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CORNER: &str = "target \\ predicted";
        let largest = self.counts.iter().copied().max().unwrap_or(0).max(self.classes as u64);
        let width = largest.to_string().len() + 2;
        write!(f, "{CORNER}")?;
        (0..self.classes).try_for_each(|class| write!(f, "{class:>width$}"))?;
        writeln!(f)?;
        for target in 0..self.classes {
            write!(f, "{target:>corner$}", corner = CORNER.len())?;
            (0..self.classes).try_for_each(|class| write!(f, "{:>width$}", self.count(target, class)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Returns the confusion matrix, an I64 tensor `[classes, classes]` on the CPU. Rows are target classes and columns
/// are predicted classes. See [`ConfusionMatrix`].
///
/// Logits have shape `[batch, classes, …]`. Targets are class indices with shape `[batch, …]`.
///
/// # Errors
/// Fails if the shapes do not match, if there are no classes or more than 16,384, if a class index is out of range, if
/// a logit is NaN or +∞, or if no logit of an element is finite. Elements whose target is −100 are ignored and not
/// checked.
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
    let mut matrix = ConfusionMatrix::new();
    matrix.update(logits, target)?;
    matrix.to_tensor()
}
