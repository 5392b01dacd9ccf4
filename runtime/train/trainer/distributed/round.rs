//! The numbers that the ranks exchange about their batches.

use candle_core::Tensor;

use crate::Result;
use crate::train::distributed::Ranks;
use crate::train::history::Stop;
use crate::train::tally::scalar;
use crate::train::trainer::epoch::interrupted;

/// The batches of all ranks in a round.
pub(super) struct Round {
    /// The number of ranks that have a batch. A batch may be empty.
    pub batches: usize,
    /// The number of examples of each rank.
    pub examples: Vec<usize>,
    /// Why training stops after this round.
    pub stop: Option<Stop>,
}

impl Round {
    /// Tells the other ranks whether this rank has a batch, and whether it stops. Every rank gets the same result.
    pub fn agree(ranks: &Ranks, examples: Option<usize>, stop: Option<&Stop>) -> Result<Self> {
        let own = [f64::from(examples.is_some()), examples.unwrap_or(0) as f64, stop_code(stop)];
        let all = ranks.gather(&own)?;
        let (mut batches, mut total, mut code) = (0, Vec::new(), 0f64);
        for rank in &all {
            let &[has_batch, examples, stop] = &rank[..] else { continue };
            batches += usize::from(has_batch > 0.);
            total.push(examples as usize);
            code = code.max(stop);
        }
        Ok(Self { batches, examples: total, stop: stop_from_code(code) })
    }

    /// Returns the number of examples of all ranks.
    pub fn total(&self) -> usize {
        self.examples.iter().sum()
    }
}

/// Returns a number for a reason to stop that a single rank can have.
fn stop_code(stop: Option<&Stop>) -> f64 {
    match stop {
        None => 0.,
        Some(Stop::Interrupted(_)) => 2.,
        Some(_) => 1.,
    }
}

fn stop_from_code(code: f64) -> Option<Stop> {
    match code {
        0. => None,
        1. => Some(Stop::Callback),
        _ => Some(interrupted()),
    }
}

/// The results of a rank for its batch.
#[derive(Clone, Copy, Default)]
pub(super) struct BatchResult {
    /// The mean loss of the examples.
    loss: f64,
    /// The number of correct elements, and of all elements, if the loss compares classes.
    correct: Option<[f64; 2]>,
}

impl BatchResult {
    pub fn new(loss: &Tensor, correct: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { loss: scalar(loss)?, correct })
    }

    /// Returns the numbers that are sent to the other ranks.
    pub fn numbers(self) -> [f64; 4] {
        let [correct, elements] = self.correct.unwrap_or_default();
        [self.loss, correct, elements, f64::from(self.correct.is_some())]
    }

    fn from_numbers(numbers: &[f64]) -> Self {
        match *numbers {
            [loss, correct, elements, has_counts] => {
                Self { loss, correct: (has_counts > 0.).then_some([correct, elements]) }
            }
            _ => Self::default(),
        }
    }
}

/// The results of all ranks for the batches of a round.
pub(super) struct RoundResult {
    /// The mean loss of the examples of all ranks.
    pub loss: f64,
    /// The sums of the two counts of the accuracy.
    pub correct: Option<[f64; 2]>,
}

impl RoundResult {
    /// Combines the [`numbers`](BatchResult::numbers) of all ranks.
    pub fn new(round: &Round, numbers: &[Vec<f64>]) -> Self {
        let results: Vec<_> = numbers.iter().map(|numbers| BatchResult::from_numbers(numbers)).collect();
        // The loss of a batch that does not count may be NaN.
        let counted = results.iter().zip(&round.examples).filter(|(_, examples)| **examples > 0);
        let sum: f64 = counted.map(|(result, examples)| result.loss * *examples as f64).sum();
        let counts = results.iter().filter_map(|result| result.correct);
        let correct = counts.reduce(|[a, b], [c, d]| [a + c, b + d]);
        Self { loss: sum / round.total() as f64, correct }
    }
}
