//! AUROC and average precision: metrics of the order of scores.

use candle_core::Tensor;

use crate::Result;

use super::Metric;
use super::reader::{ClassReader, LogitShape, predicted};
use super::state::numbers;

/// The area under the receiver operating characteristic curve: the probability that a random element of a class has a
/// higher score than a random element of another class. Equal scores count one half.
///
/// The area is exact: the curve has a threshold for every score, not a fixed number of thresholds. Therefore the scores
/// are kept until [`reset`](Metric::reset). Each element occupies about 12 bytes with [`binary`](Self::binary), and 4
/// bytes plus 8 bytes for each class with [`macro_average`](Self::macro_average). [`value`](Metric::value) needs up to
/// about 50 more bytes for each element while it runs.
///
/// As in scikit-learn, the value is NaN if a class has no elements or all of them.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut auroc = Auroc::binary();
/// let logits = Tensor::new(&[-1f32, 0.5, 0.2, 3.], &Device::Cpu)?;
/// auroc.update(&logits, &Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?)?;
/// assert_eq!(auroc.value()?, 0.75); // 3 of 4 pairs are in the right order
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Auroc(Ranking);

/// The average precision: the area under the curve of precision over recall, as a sum of rectangles.
///
/// Each distinct score is used as a threshold, in decreasing order. Its rectangle is the precision times the increase
/// in recall. The scores are kept, as in [`Auroc`]. As in scikit-learn, the value of a class without elements is 0.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut precision = AveragePrecision::binary();
/// let logits = Tensor::new(&[-1f32, 0.5, 0.2, 3.], &Device::Cpu)?;
/// precision.update(&logits, &Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?)?;
/// assert_eq!(precision.value()?, (1. + 2. / 3.) / 2.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AveragePrecision(Ranking);

/// The scores of all elements.
#[derive(Clone, Debug)]
struct Ranking {
    name: String,
    reader: ClassReader,
    elements: Elements,
}

#[derive(Clone, Debug, Default)]
struct Elements {
    /// The scores of class 1 for binary metrics, and of each class otherwise.
    scores: Vec<Vec<f64>>,
    targets: Vec<u32>,
}

/// The number of elements of the class (positive) and of other classes (negative) that have the same score.
#[derive(Clone, Copy, Debug, Default)]
struct Ties {
    positive: u64,
    negative: u64,
}

impl Ranking {
    fn binary(name: &str, metric: &'static str) -> Self {
        let reader = ClassReader::new(metric, LogitShape::Binary);
        Self { name: name.into(), reader, elements: Elements::default() }
    }

    fn macro_average(name: &str, metric: &'static str) -> Self {
        let reader = ClassReader::new(metric, LogitShape::Classes);
        Self { name: format!("{name}_macro"), reader, elements: Elements::default() }
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let is_binary = self.reader.logit_shape() == LogitShape::Binary;
        let new = |classes| {
            let lists = if is_binary { 1 } else { classes };
            Ok(Elements { scores: vec![Vec::new(); lists], targets: Vec::new() })
        };
        let batch = self.reader.read(output, target, new, |batch, class, logits| {
            batch.targets.push(class as u32);
            if is_binary {
                batch.scores[0].push(logits[1] - logits[0]);
            } else {
                log_odds(logits, |class, score| batch.scores[class].push(score));
            }
        })?;
        self.add(batch);
        Ok(())
    }

    fn reset(&mut self) {
        self.reader.reset();
        self.elements = Elements::default();
    }

    /// Returns the number of classes, the number of lists of scores, the targets and the scores.
    fn state(&self) -> Vec<f64> {
        let Elements { scores, targets } = &self.elements;
        // `load_state` fails if there are fewer numbers than lists, so a state without elements has no lists.
        let lists = if targets.is_empty() { 0 } else { scores.len() };
        let sizes = [self.reader.classes(), lists].map(|size| size as f64);
        [&sizes[..], &numbers(targets.iter().map(|&target| target.into())), &scores.concat()].concat()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut reader = self.reader.state(state);
        let classes = reader.count()? as usize;
        let lists = reader.length()?;
        let elements = (state.len() - 2) / (lists + 1);
        let targets = (0..elements).map(|_| match reader.count()? {
            target if (target as usize) < classes => Ok(target as u32),
            _ => Err(reader.invalid()),
        });
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let scores = (0..lists).map(|_| Ok(reader.take(elements)?.to_vec())).collect::<Result<Vec<_>>>()?;
        reader.finish()?;
        self.reader.restore_classes(classes);
        self.elements = Elements { scores, targets };
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        self.reader.merge(&other.reader)?;
        self.add(other.elements);
        Ok(())
    }

    /// Adds the elements of a batch, or of another metric.
    fn add(&mut self, elements: Elements) {
        self.elements.targets.extend(elements.targets);
        let lists = self.elements.scores.len().max(elements.scores.len());
        self.elements.scores.resize(lists, Vec::new());
        for (scores, others) in self.elements.scores.iter_mut().zip(elements.scores) {
            scores.extend(others);
        }
    }

    /// Returns `value(ties)` for each class. The ties are in the order of decreasing scores.
    fn per_class(&self, value: fn(&[Ties]) -> f64) -> Vec<f64> {
        let is_binary = self.reader.logit_shape() == LogitShape::Binary;
        let Elements { scores, targets } = &self.elements;
        let classes = scores.iter().enumerate();
        classes.map(|(class, scores)| value(&ties(scores, targets, class + usize::from(is_binary)))).collect()
    }

    fn value(&self, value: fn(&[Ties]) -> f64) -> f64 {
        if self.elements.targets.is_empty() {
            return f64::NAN;
        }
        let values = self.per_class(value);
        values.iter().sum::<f64>() / values.len() as f64
    }
}

/// Calls `add` with each class and the logarithm of p / (1 - p), where p is the softmax of the logits at this class.
///
/// The log odds have the same order as the probabilities, but they remain distinct if the probabilities round to 1.
fn log_odds(logits: &[f64], mut add: impl FnMut(usize, f64)) {
    let top = predicted(logits);
    let others = || (0..logits.len()).filter(move |&class| class != top);
    let second = others().map(|class| logits[class]).fold(f64::NEG_INFINITY, f64::max);
    let weight = |class: usize, largest: f64| (logits[class] - largest).exp();
    let sum_of_others = |largest: f64| others().map(|class| weight(class, largest)).sum::<f64>();
    let rest = sum_of_others(logits[top]);
    for class in 0..logits.len() {
        let score = if class != top {
            // The weight of the largest logit is 1.
            logits[class] - logits[top] - (1. + (rest - weight(class, logits[top]))).ln()
        } else if second == f64::NEG_INFINITY {
            f64::INFINITY
        } else {
            // Relative to the second largest logit, the sum cannot underflow to 0.
            logits[top] - second - sum_of_others(second).ln()
        };
        add(class, score);
    }
}

/// Groups elements by score, in the order of decreasing scores.
fn ties(scores: &[f64], targets: &[u32], class: usize) -> Vec<Ties> {
    let mut elements: Vec<(f64, bool)> =
        scores.iter().zip(targets).map(|(&score, &target)| (score, target as usize == class)).collect();
    elements.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    let groups = elements.chunk_by(|(a, _), (b, _)| a == b);
    groups
        .map(|group| {
            let positive = group.iter().filter(|(_, is_positive)| *is_positive).count() as u64;
            Ties { positive, negative: group.len() as u64 - positive }
        })
        .collect()
}

fn total(ties: &[Ties]) -> Ties {
    let add = |sum: Ties, ties: &Ties| Ties {
        positive: sum.positive + ties.positive,
        negative: sum.negative + ties.negative,
    };
    ties.iter().fold(Ties::default(), add)
}

/// Returns the area under the curve, or NaN if all elements are positive or all are negative.
fn area_under_roc(ties: &[Ties]) -> f64 {
    let total = total(ties);
    // Count the pairs of a positive and a negative element in which the positive one has the higher score. Equal scores
    // count one half, so the count is doubled.
    let mut higher = 0;
    let mut doubled_pairs = 0;
    for ties in ties {
        doubled_pairs += u128::from(ties.negative) * u128::from(2 * higher + ties.positive);
        higher += ties.positive;
    }
    doubled_pairs as f64 / (2 * u128::from(total.positive) * u128::from(total.negative)) as f64
}

/// Returns the average precision, or 0 if no element is positive.
fn average_precision(ties: &[Ties]) -> f64 {
    let positive = total(ties).positive;
    if positive == 0 {
        return 0.;
    }
    let mut above = Ties::default();
    let mut sum = 0.;
    for ties in ties {
        above = total(&[above, *ties]);
        sum += ties.positive as f64 * (above.positive as f64 / (above.positive + above.negative) as f64);
    }
    sum / positive as f64
}

macro_rules! ranking_metric {
    ($metric:ident, $name:literal, $value:expr) => {
        impl $metric {
            /// Creates the metric of class 1, from binary logits with targets (0 or 1) of the same shape, or from
            /// two-class logits `[batch, 2, …]` with class indices `[batch, …]`. Probabilities or other scores in place
            /// of logits give the same value if they order the elements in the same way.
            pub fn binary() -> Self {
                Self(Ranking::binary($name, stringify!($metric)))
            }

            /// Creates the mean over the classes, each compared with all others (one-vs-rest), from logits
            /// `[batch, classes, …]` and class indices `[batch, …]`. The score of a class is its softmax.
            pub fn macro_average() -> Self {
                Self(Ranking::macro_average($name, stringify!($metric)))
            }

            /// Sets the target index of the elements to ignore, by default −100.
            pub fn ignore_index(mut self, index: i64) -> Self {
                self.0.reader.ignore_index = index;
                self
            }

            /// Returns the value of each class, or only that of class 1 with [`binary`](Self::binary). The list is
            /// empty before the first batch.
            pub fn per_class(&self) -> Vec<f64> {
                self.0.per_class($value)
            }
        }

        impl Metric for $metric {
            fn name(&self) -> String {
                self.0.name.clone()
            }

            fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
                self.0.update(output, target)
            }

            fn value(&self) -> Result<f64> {
                Ok(self.0.value($value))
            }

            fn reset(&mut self) {
                self.0.reset();
            }

            fn state(&self) -> Result<Vec<f64>> {
                Ok(self.0.state())
            }

            fn load_state(&mut self, state: &[f64]) -> Result<()> {
                self.0.load_state(state)
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.0.merge(state)
            }

            fn higher_is_better(&self) -> bool {
                true
            }
        }
    };
}

ranking_metric!(Auroc, "auroc", area_under_roc);
ranking_metric!(AveragePrecision, "average_precision", average_precision);
