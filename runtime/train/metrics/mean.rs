//! The mean of batch means.

/// A running mean over batches, weighted by the number of examples.
///
/// ```
/// use sconce::train::metrics::Mean;
///
/// let mut loss = Mean::default();
/// loss.add(1., 64);
/// loss.add(4., 32);
/// assert_eq!(loss.value(), 2.);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds a batch of `examples` examples whose mean is `value`.
    pub fn add(&mut self, value: f64, examples: usize) {
        // The mean of an empty batch is NaN.
        if examples > 0 {
            self.sum += value * examples as f64;
            self.weight += examples as f64;
        }
    }

    /// Returns the sum and the number of examples.
    pub(in crate::train) fn state(&self) -> [f64; 2] {
        [self.sum, self.weight]
    }

    /// Restores a state returned by [`state`](Self::state).
    pub(in crate::train) fn from_state([sum, weight]: [f64; 2]) -> Self {
        Self { sum, weight }
    }

    /// Returns the mean over all examples so far, or NaN if there are none.
    pub fn value(&self) -> f64 {
        self.sum / self.weight
    }
}
