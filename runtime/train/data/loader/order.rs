//! The order of the examples in an epoch.

use std::collections::HashMap;

use crate::{Error, Result};

use super::super::{Generator, WeightedSampler};

/// Marks the keys of generators that do not belong to an example. No index and no [`Draw::repeat`] has this value.
pub(super) const NO_EXAMPLE: u64 = u64::MAX;

/// How the order of the examples is chosen.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Sequential,
    Shuffled,
    Weighted(WeightedSampler),
}

/// An example of an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub index: usize,
    /// How often the index occurs earlier in the epoch, so that the random transforms of each occurrence differ.
    pub repeat: u64,
}

impl Order {
    /// Returns the number of examples in an epoch over a data set of `len` examples.
    pub fn count(&self, len: usize) -> usize {
        match self {
            Self::Sequential | Self::Shuffled => len,
            Self::Weighted(sampler) => sampler.count(),
        }
    }

    /// Returns the examples of the epoch with the given seed and number.
    pub fn draws(&self, len: usize, [seed, epoch]: [u64; 2]) -> Result<Vec<Draw>> {
        let once = |index| Draw { index, repeat: 0 };
        let mut rng = Generator::from_key([seed, epoch, NO_EXAMPLE, NO_EXAMPLE]);
        Ok(match self {
            Self::Sequential => (0..len).map(once).collect(),
            Self::Shuffled => rng.permutation(len).into_iter().map(once).collect(),
            Self::Weighted(sampler) => {
                check_weights(sampler.weights(), len)?;
                with_repeats((0..sampler.count()).map(|_| sampler.draw(&mut rng)))
            }
        })
    }
}

fn check_weights(weights: usize, len: usize) -> Result<()> {
    if weights == len {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected one weight in the sampler for each of the {len} examples, found {weights} weights"
    )))
}

fn with_repeats(indices: impl Iterator<Item = usize>) -> Vec<Draw> {
    let mut counts = HashMap::new();
    let draw = |index| {
        let count = counts.entry(index).or_insert(0);
        let repeat = *count;
        *count += 1;
        Draw { index, repeat }
    };
    indices.map(draw).collect()
}
