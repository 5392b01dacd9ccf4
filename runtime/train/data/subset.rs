//! Parts of a data set.

use std::sync::Arc;

use crate::{Error, Result};

use super::dataset::check_index;
use super::{Dataset, Generator};

/// Some examples of a data set.
///
/// ```
/// use std::sync::Arc;
///
/// use sconce::train::data::{Dataset, Generator, Subset, dataset_fn};
///
/// let letters = Arc::new(dataset_fn(3, |index, _| Ok(["a", "b", "c"][index])));
/// let subset = Subset::new(letters, vec![2, 0])?;
/// assert_eq!(subset.len(), 2);
/// assert_eq!(subset.get(0, &mut Generator::from_seed(0))?, "c");
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Debug)]
pub struct Subset<D> {
    dataset: Arc<D>,
    indices: Vec<usize>,
}

impl<D> Clone for Subset<D> {
    fn clone(&self) -> Self {
        Self { dataset: self.dataset.clone(), indices: self.indices.clone() }
    }
}

impl<D: Dataset> Subset<D> {
    /// Creates a data set from the examples of `dataset` at `indices`, in this order.
    ///
    /// # Errors
    /// Fails if an index is not less than the number of examples.
    pub fn new(dataset: Arc<D>, indices: Vec<usize>) -> Result<Self> {
        let len = dataset.len();
        indices.iter().try_for_each(|index| check_index(*index, len))?;
        Ok(Self { dataset, indices })
    }

    /// Returns the indices of the examples in the whole data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Example = D::Example;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize, rng: &mut Generator) -> Result<D::Example> {
        check_index(index, self.indices.len())?;
        self.dataset.get(self.indices[index], rng)
    }
}

/// The sizes of the parts that [`random_split`] returns: fractions (`[0.8, 0.2]`) or numbers of examples
/// (`[8_000, 2_000]`).
///
/// ```
/// use sconce::train::data::SplitSizes;
///
/// // As in PyTorch, the examples that remain after rounding down go to the first parts, one to each.
/// assert_eq!([0.5, 0.25, 0.25].counts(11)?, [6, 3, 2]);
/// assert_eq!([8, 3].counts(11)?, [8, 3]);
/// # Ok::<(), sconce::Error>(())
/// ```
pub trait SplitSizes<const N: usize> {
    /// Returns the number of examples in each part of a data set of `len` examples.
    ///
    /// # Errors
    /// Fails if fractions are negative or do not sum to 1, or if numbers of examples do not sum to `len`.
    fn counts(&self, len: usize) -> Result<[usize; N]>;
}

impl<const N: usize> SplitSizes<N> for [f64; N] {
    fn counts(&self, len: usize) -> Result<[usize; N]> {
        let valid =
            self.iter().all(|fraction| *fraction >= 0.) && (self.iter().sum::<f64>() - 1.).abs() < 1e-6;
        if !valid {
            return Err(Error::msg(format!("expected fractions that sum to 1, found {self:?}")));
        }
        let mut left = len;
        let mut counts = self.map(|fraction| {
            let count = ((len as f64 * fraction) as usize).min(left);
            left -= count;
            count
        });
        for position in 0..left {
            counts[position % N] += 1;
        }
        Ok(counts)
    }
}

impl<const N: usize> SplitSizes<N> for [usize; N] {
    fn counts(&self, len: usize) -> Result<[usize; N]> {
        let sum = self.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
        if sum != Some(len) {
            return Err(Error::msg(format!("expected parts that sum to {len} examples, found {self:?}")));
        }
        Ok(*self)
    }
}

/// Splits a data set at random into parts of the given sizes. The parts have no example in common. The seed determines
/// which examples are in which part.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::{dataset_fn, random_split};
/// # fn main() -> Result<()> {
/// let data = dataset_fn(100, |index, _| Ok(index as f32));
/// let [train, valid] = random_split(data, [0.8, 0.2], 0)?;
/// assert_eq!((train.len(), valid.len()), (80, 20));
/// let train = DataLoader::new(train).shuffle(true);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if fractions are negative or do not sum to 1, or if numbers of examples do not sum to the number of examples
/// in the data set.
pub fn random_split<D: Dataset, const N: usize>(
    dataset: D,
    sizes: impl SplitSizes<N>,
    seed: u64,
) -> Result<[Subset<D>; N]> {
    let dataset = Arc::new(dataset);
    let counts = sizes.counts(dataset.len())?;
    let mut order = Generator::from_seed(seed).permutation(dataset.len()).into_iter();
    Ok(counts.map(|count| Subset { dataset: dataset.clone(), indices: order.by_ref().take(count).collect() }))
}
