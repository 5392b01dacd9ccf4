//! The states of metrics as lists of numbers.

use crate::{Error, Result};

/// Converts counts to numbers. Counts below 2⁵³ are exact.
pub(super) fn numbers(counts: impl IntoIterator<Item = u64>) -> Vec<f64> {
    counts.into_iter().map(|count| count as f64).collect()
}

/// Reads a list of numbers from the front.
pub(super) struct StateReader<'a> {
    metric: &'static str,
    numbers: &'a [f64],
}

impl<'a> StateReader<'a> {
    /// Reads `numbers`. `metric` names the metric in errors.
    pub fn new(metric: &'static str, numbers: &'a [f64]) -> Self {
        Self { metric, numbers }
    }

    /// Reads the next `count` numbers.
    pub fn take(&mut self, count: usize) -> Result<&'a [f64]> {
        let (taken, rest) = self.numbers.split_at_checked(count).ok_or_else(|| self.invalid())?;
        self.numbers = rest;
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<f64> {
        Ok(self.take(1)?[0])
    }

    /// Reads an integer of at least 0.
    pub fn count(&mut self) -> Result<u64> {
        let number = self.number()?;
        let is_count = number >= 0. && number.fract() == 0. && number <= u64::MAX as f64;
        if is_count { Ok(number as u64) } else { Err(self.invalid()) }
    }

    /// Reads a count. Fails if fewer numbers than this count follow, so that a damaged state cannot make the caller
    /// allocate too much memory.
    pub fn length(&mut self) -> Result<usize> {
        let length = self.count()? as usize;
        if length <= self.numbers.len() { Ok(length) } else { Err(self.invalid()) }
    }

    /// Returns an error unless all numbers were read.
    pub fn finish(self) -> Result<()> {
        if self.numbers.is_empty() { Ok(()) } else { Err(self.invalid()) }
    }

    /// Returns the error for a state of another metric.
    pub fn invalid(&self) -> Error {
        Error::msg("the state is not that of this metric").in_layer(self.metric)
    }
}
