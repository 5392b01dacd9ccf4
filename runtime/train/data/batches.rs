//! Sources of batches: the trait, and its implementations for pairs of tensors, lists of batches and pointers.

use candle_core::Tensor;

use crate::train::batch::Batch;
use crate::{Error, Result};

use super::TensorDataset;

/// An iterator over the batches of one epoch.
///
/// To resume in the middle of an epoch, a [`Trainer`](crate::train::Trainer) skips batches with [`nth`](Iterator::nth),
/// which an iterator can implement without reading the skipped batches.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let numbers = Tensor::arange(0f32, 10., &Device::Cpu)?;
/// let data = TensorDataset::new(numbers.clone(), numbers)?.batch_size(4);
/// let epoch: sconce::train::data::Epoch = data.epoch()?;
/// assert_eq!(epoch.count(), 3);
/// # Ok(())
/// # }
/// ```
pub type Epoch<'a, B = (Tensor, Tensor)> = Box<dyn Iterator<Item = Result<B>> + 'a>;

/// A source of batches that can be iterated once per epoch.
///
/// Implemented for [`TensorDataset`], for [`DataLoader`](super::DataLoader), for a `Vec` of any [`Batch`], and for a
/// pair of tensors, which acts like a shuffled `TensorDataset` with batches of 64. [`from_fn`](super::from_fn())
/// creates a source from a function that returns an iterator.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let examples = Tensor::arange(0f32, 100., &Device::Cpu)?;
/// let data = (examples.clone(), examples); // batches of 64, shuffled in each epoch
/// assert_eq!(data.len_hint(), Some(2));
/// let sizes = data.epoch()?.map(|batch| Ok(batch?.0.elem_count())).collect::<Result<Vec<_>>>()?;
/// assert_eq!(sizes, [64, 36]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of batches",
    note = "a source of batches is a `TensorDataset`, a pair of tensors, a `Vec` of batches, or `from_fn(…)`"
)]
pub trait Batches {
    /// The type of the batches, such as `(Tensor, Tensor)`.
    type Batch: Batch;

    /// Returns the batches of one epoch. Each call may return them in a different order.
    ///
    /// # Errors
    /// Fails if the batches cannot be created, for example if the batch size of a [`TensorDataset`] is 0.
    fn epoch(&self) -> Result<Epoch<'_, Self::Batch>>;

    /// Returns the batches `first`, `first + step`, `first + 2 * step` and so on of one epoch, counted from 0. In
    /// distributed training, each rank calls this method with another `first`, so that every batch goes to one rank.
    ///
    /// The default implementation calls [`epoch`](Self::epoch) and skips the other batches with
    /// [`nth`](Iterator::nth). A source that prepares batches ahead of time can implement this method to leave out the
    /// others.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let numbers = Tensor::arange(0f32, 10., &Device::Cpu)?;
    /// let data = TensorDataset::new(numbers.clone(), numbers)?.batch_size(2);
    /// let numbers = data.epoch_part(1, 3)?.map(|batch| Ok(batch?.0.to_vec1::<f32>()?));
    /// let part = numbers.collect::<Result<Vec<_>>>()?;
    /// assert_eq!(part, [[2., 3.], [8., 9.]]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if `step` is 0, or under the conditions of [`epoch`](Self::epoch).
    fn epoch_part(&self, first: usize, step: usize) -> Result<Epoch<'_, Self::Batch>> {
        check_step(step)?;
        Ok(Box::new(self.epoch()?.skip(first).step_by(step)))
    }

    /// Returns the number of batches per epoch, for progress bars and for schedules that depend on the number of steps,
    /// or `None` if it is unknown.
    fn len_hint(&self) -> Option<usize> {
        None
    }

    /// Sets the number of the next epoch, counted from 0. A [`Trainer`](crate::train::Trainer) calls this method before
    /// each epoch of training and before each validation. Some sources, such as a [`DataLoader`](super::DataLoader)
    /// with a seed, derive the order and the random numbers of an epoch from its number, so that they return the same
    /// epoch again in a resumed run.
    fn set_epoch(&self, epoch: u64) {
        let _ = epoch;
    }
}

/// Returns an error if the step of [`Batches::epoch_part`] is 0.
pub(super) fn check_step(step: usize) -> Result<()> {
    if step == 0 {
        return Err(Error::msg("expected a step of at least 1 batch, found 0"));
    }
    Ok(())
}

impl Batches for (Tensor, Tensor) {
    type Batch = Self;

    fn epoch(&self) -> Result<Epoch<'_>> {
        TensorDataset::new(self.0.clone(), self.1.clone())?.shuffle(true).into_epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        TensorDataset::new(self.0.clone(), self.1.clone()).ok()?.batches()
    }
}

impl<B: Batch + Clone> Batches for Vec<B> {
    type Batch = B;

    fn epoch(&self) -> Result<Epoch<'_, B>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }

    fn len_hint(&self) -> Option<usize> {
        Some(self.len())
    }
}

macro_rules! forward_to_content {
    ($($pointer:ty),+) => {
        $(impl<B: Batches + ?Sized> Batches for $pointer {
            type Batch = B::Batch;

            fn epoch(&self) -> Result<Epoch<'_, B::Batch>> {
                (**self).epoch()
            }

            fn epoch_part(&self, first: usize, step: usize) -> Result<Epoch<'_, B::Batch>> {
                (**self).epoch_part(first, step)
            }

            fn len_hint(&self) -> Option<usize> {
                (**self).len_hint()
            }

            fn set_epoch(&self, epoch: u64) {
                (**self).set_epoch(epoch);
            }
        })+
    };
}

forward_to_content!(&B, Box<B>);
