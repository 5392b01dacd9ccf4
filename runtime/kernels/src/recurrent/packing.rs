//! The rows of packed sequences. Packing concatenates the time steps of a batch of sequences and leaves out the
//! padding: each step has one row for each sequence that reaches the step.

use std::ops::Range;

use candle_core::{Result, bail};

/// The rows of each step, and the order in which the steps run.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// The first row of each time step, and the total number of rows.
    starts: Vec<usize>,
    reverse: bool,
}

impl Steps {
    /// Creates the steps from the number of sequences at each time step. Error messages begin with `name`.
    ///
    /// # Errors
    /// Fails if there are no steps, or if a step has more sequences than the step before it.
    pub fn new(name: &str, batch_sizes: &[usize], reverse: bool) -> Result<Self> {
        if batch_sizes.is_empty() {
            bail!("{name}: expected a sequence of one step or more, found none");
        }
        if !batch_sizes.is_sorted_by(|a, b| a >= b) {
            bail!("{name}: expected batch sizes that never increase, found {batch_sizes:?}");
        }
        let mut starts = vec![0usize];
        for (step, size) in batch_sizes.iter().enumerate() {
            let Some(end) = starts[step].checked_add(*size) else {
                bail!(
                    "{name}: expected batch sizes with a sum below 2^{}, found {batch_sizes:?}",
                    usize::BITS
                );
            };
            starts.push(end);
        }
        Ok(Self { starts, reverse })
    }

    /// Returns the number of sequences.
    pub fn batch(&self) -> usize {
        self.starts[1]
    }

    /// Returns the number of rows of all steps.
    pub fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Returns the rows of each step, in the order in which the steps run.
    ///
    /// A step with `n` rows updates the first `n` rows of the state. In time order, `n` never grows, so the final
    /// states of finished sequences stay in place. In reverse order, `n` never shrinks, so a sequence whose first step
    /// comes later still has its initial state.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = Range<usize>> {
        let count = self.starts.len() - 1;
        (0..count).map(move |step| {
            let time = if self.reverse { count - 1 - step } else { step };
            self.starts[time]..self.starts[time + 1]
        })
    }
}
