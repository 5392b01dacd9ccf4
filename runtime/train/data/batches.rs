//! Sources of batches: the trait and its implementations for batches that exist already.

use candle_core::Tensor;

use crate::Result;

use super::TensorDataset;

/// Inputs `[batch, …]` and targets `[batch, …]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let (x, y) = (Tensor::ones((8, 4), DType::F32, &Device::Cpu)?, Tensor::zeros(8, DType::U32, &Device::Cpu)?);
/// let batches: Vec<sconce::train::data::Batch> = vec![(x, y)];
/// assert_eq!(batches.len_hint(), Some(1));
/// # Ok(())
/// # }
/// ```
pub type Batch = (Tensor, Tensor);

/// An iterator over the batches of one epoch.
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
pub type Epoch<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// A source of batches that can be iterated once per epoch.
///
/// Implemented for [`TensorDataset`], for precomputed batches (`Vec<Batch>`), and for a pair of tensors, which acts
/// like a shuffled `TensorDataset` with batches of 64. [`from_fn`](super::from_fn()) creates a source from a function
/// that returns an iterator.
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
pub trait Batches {
    /// Returns the batches of one epoch. Each call may return them in a different order.
    ///
    /// # Errors
    /// Fails if the batches cannot be created, for example if the batch size of a [`TensorDataset`] is 0.
    fn epoch(&self) -> Result<Epoch<'_>>;

    /// Returns the number of batches per epoch, for progress bars, or `None` if it is unknown.
    fn len_hint(&self) -> Option<usize> {
        None
    }
}

impl Batches for Batch {
    fn epoch(&self) -> Result<Epoch<'_>> {
        TensorDataset::new(self.0.clone(), self.1.clone())?.shuffle(true).into_epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        TensorDataset::new(self.0.clone(), self.1.clone()).ok()?.batches()
    }
}

impl Batches for Vec<Batch> {
    fn epoch(&self) -> Result<Epoch<'_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }

    fn len_hint(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl<B: Batches + ?Sized> Batches for &B {
    fn epoch(&self) -> Result<Epoch<'_>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}

impl<B: Batches + ?Sized> Batches for Box<B> {
    fn epoch(&self) -> Result<Epoch<'_>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}
