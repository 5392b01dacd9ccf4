//! Weighted sampling.

use std::collections::HashMap;

use crate::{Error, Result};

use super::Generator;

/// Draws examples with replacement, each with a probability proportional to its weight, like
/// `torch.utils.data.WeightedRandomSampler`. Pass the sampler to [`DataLoader::sampler`](super::DataLoader::sampler).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::{WeightedSampler, dataset_fn};
/// # fn main() -> Result<()> {
/// // Example 1 is drawn about three times as often as example 0, and example 2 never.
/// let sampler = WeightedSampler::new(vec![1., 3., 0.])?.draws(1000);
/// let data = dataset_fn(3, |index, _| Ok(index as u32));
/// let loader = DataLoader::new(data).sampler(sampler).batch_size(1000).seed(0);
/// let drawn = loader.iter()?.next().expect("there is one batch")?.to_vec1::<u32>()?;
/// let ones = drawn.iter().filter(|index| **index == 1).count();
/// assert!((700..800).contains(&ones));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    /// The sum of the weights up to and including each example.
    cumulative: Vec<f64>,
    draws: usize,
}

impl WeightedSampler {
    /// Creates a sampler with one weight for each example. The weights need not sum to 1. By default, an epoch draws as
    /// many examples as there are weights.
    ///
    /// # Errors
    /// Fails if there are no weights, if a weight is negative or not finite, or if the sum of the weights is 0 or not
    /// finite.
    pub fn new(weights: impl Into<Vec<f64>>) -> Result<Self> {
        let mut cumulative = weights.into();
        let mut sum = 0.;
        for (index, weight) in cumulative.iter_mut().enumerate() {
            if !(weight.is_finite() && *weight >= 0.) {
                return Err(Error::msg(format!(
                    "expected finite weights of at least 0, found {weight} for example {index}"
                )));
            }
            sum += *weight;
            *weight = sum;
        }
        if !(sum.is_finite() && sum > 0.) {
            return Err(Error::msg(format!(
                "expected weights with a finite sum above 0, found the sum {sum}"
            )));
        }
        Ok(Self { draws: cumulative.len(), cumulative })
    }

    /// Creates a sampler that draws all classes equally often. `classes` contains the class of each example.
    ///
    /// ```
    /// use sconce::train::data::WeightedSampler;
    ///
    /// // Class 0 has three examples and class 1 has one, which is drawn three times as often as each of the others.
    /// let sampler = WeightedSampler::balanced(&[0, 0, 0, 1])?;
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if `classes` is empty.
    pub fn balanced(classes: &[u32]) -> Result<Self> {
        let mut counts = HashMap::new();
        for class in classes {
            *counts.entry(class).or_insert(0u32) += 1;
        }
        Self::new(classes.iter().map(|class| 1. / f64::from(counts[class])).collect::<Vec<_>>())
    }

    /// Sets the number of examples in an epoch, by default the number of weights.
    pub fn draws(mut self, examples: usize) -> Self {
        self.draws = examples;
        self
    }

    /// Returns the number of weights.
    pub(super) fn weights(&self) -> usize {
        self.cumulative.len()
    }

    /// Returns the number of examples in an epoch.
    pub(super) fn count(&self) -> usize {
        self.draws
    }

    /// Returns the index of a random example.
    pub(super) fn draw(&self, rng: &mut Generator) -> usize {
        let sum = self.cumulative[self.cumulative.len() - 1];
        let position = rng.uniform(0., sum);
        let index = self.cumulative.partition_point(|end| *end <= position);
        // If rounding made `position` equal to the sum, take the last example with a weight above 0.
        index.min(self.cumulative.partition_point(|end| *end < sum))
    }
}
