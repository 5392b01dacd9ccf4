//! Statistics over the batches of several processes (synchronized batch norm).
//!
//! Each process, a *rank*, has a part of the batch. The statistics of a channel are sums over all values of the
//! channel, so the ranks add up their sums: in the forward pass the count, the sum and the sum of squares, and in the
//! backward pass the two sums on which the gradient depends.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Result, bail};

use super::{Moments, NAME};

/// Adds up lists of numbers over all ranks: replaces the numbers of this rank with the sums. Every rank must call the
/// function in the same order, with lists of the same lengths.
pub type SumOverRanks = Arc<dyn Fn(&mut [f64]) -> Result<()> + Send + Sync>;

/// Runs `f`. Meanwhile, batch norms of this thread compute the statistics in training over the batches of all ranks.
///
/// - `sum`: adds up numbers over all ranks
/// - `examples`: the number of examples in the batch of this rank; 0 if the batch must not contribute to the
///   statistics. Each rank differentiates the mean of its losses, and its gradients are weighted by this number
///   afterwards.
pub fn with_statistics_of_ranks<T>(sum: SumOverRanks, examples: usize, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Ranks>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(Ranks { sum, examples })));
    f()
}

/// Returns `true` during [`with_statistics_of_ranks`].
pub fn has_statistics_of_ranks() -> bool {
    Ranks::current().is_some()
}

thread_local! {
    static CURRENT: RefCell<Option<Ranks>> = const { RefCell::new(None) };
}

/// The ranks whose batches contribute to the statistics.
#[derive(Clone)]
pub(super) struct Ranks {
    sum: SumOverRanks,
    /// The number of examples in the batch of this rank, or 0 if the batch does not contribute.
    examples: usize,
}

impl Ranks {
    /// Returns the ranks during [`with_statistics_of_ranks`], and `None` otherwise.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Returns the moments of each channel over the batches of all ranks.
    pub fn combine(&self, moments: &[Moments]) -> Result<Vec<Moments>> {
        let sums = |moments: &Moments| {
            let Moments { count, mean, squared_deviations } = *moments;
            // An empty batch has no mean.
            if count == 0. || self.examples == 0 {
                [0.; 3]
            } else {
                [count, count * mean, squared_deviations + count * mean * mean]
            }
        };
        let combined = self.sum_arrays(&moments.iter().map(sums).collect::<Vec<_>>())?;
        let moments = combined.into_iter().map(|[count, sum, squares]| {
            let mean = sum / count;
            // Rounding must not make the variance of nearly equal values negative.
            Moments { count, mean, squared_deviations: (squares - sum * mean).max(0.) }
        });
        let moments: Vec<Moments> = moments.collect();
        if moments.first().is_some_and(|moments| moments.count == 1.) {
            bail!("{NAME}: expected more than one value per channel in training, found one in all processes");
        }
        Ok(moments)
    }

    /// Returns the two sums of each channel over the gradients of all ranks, in the scale of the gradients of this
    /// rank: those of the mean loss of its batch. In the loss of all batches, each batch counts by its number of
    /// examples.
    pub fn sum_of_gradients(&self, sums: &[[f64; 2]]) -> Result<Vec<[f64; 2]>> {
        let scaled = |sums: &[[f64; 2]], factor: f64| -> Vec<[f64; 2]> {
            sums.iter().map(|sums| sums.map(|sum| sum * factor)).collect()
        };
        // The gradients of a batch without examples may not be finite.
        let own = match self.examples {
            0 => vec![[0.; 2]; sums.len()],
            examples => scaled(sums, examples as f64),
        };
        Ok(scaled(&self.sum_arrays(&own)?, 1. / self.examples.max(1) as f64))
    }

    fn sum_arrays<const N: usize>(&self, values: &[[f64; N]]) -> Result<Vec<[f64; N]>> {
        let mut flat: Vec<f64> = values.as_flattened().to_vec();
        (self.sum)(&mut flat)?;
        Ok(flat.as_chunks::<N>().0.to_vec())
    }
}
