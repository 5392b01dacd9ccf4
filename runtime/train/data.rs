//! Data sets and batches.

use std::ops::Range;

use candle_core::Tensor;

use crate::{Error, Result, random};

use super::batch::Batch;

/// An iterator over the batches of one epoch.
///
/// To resume in the middle of an epoch, a [`Trainer`](super::Trainer) skips batches with [`nth`](Iterator::nth), which
/// an iterator can implement without reading the skipped batches.
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
/// Implemented for [`TensorDataset`], for a `Vec` of any [`Batch`], and for a pair of tensors, which acts like a
/// shuffled `TensorDataset` with batches of 64. [`from_fn`] creates a source from a function that returns an iterator.
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

    /// Returns the number of batches per epoch, for progress bars, or `None` if it is unknown.
    fn len_hint(&self) -> Option<usize> {
        None
    }
}

/// A data set of inputs and targets: two tensors with the same first dimension.
///
/// ```
/// use sconce::candle::{Device, Tensor};
/// use sconce::train::data::{Batches, TensorDataset};
///
/// let inputs = Tensor::arange(0f32, 10., &Device::Cpu)?.reshape((10, 1))?;
/// let targets = Tensor::arange(0u32, 10, &Device::Cpu)?;
/// let train = TensorDataset::new(inputs, targets)?.batch_size(4).shuffle(true);
/// let sizes: Vec<usize> = train.epoch()?.map(|batch| Ok(batch?.0.dim(0)?)).collect::<sconce::Result<_>>()?;
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
    batch_size: usize,
    shuffle: bool,
    drop_last: bool,
}

impl TensorDataset {
    /// Creates a data set of `inputs` `[examples, …]` and `targets` `[examples, …]`. By default, the data set returns
    /// batches of 64 examples in order.
    ///
    /// # Errors
    /// Fails if the first dimensions differ or if a tensor is a scalar.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        let matches = inputs.rank() > 0 && targets.rank() > 0 && inputs.dims()[0] == targets.dims()[0];
        if !matches {
            let inputs = inputs.dims();
            let targets = targets.dims();
            let message = format!(
                "expected inputs and targets with equal first dimensions, found {inputs:?} and {targets:?}"
            );
            return Err(Error::msg(message));
        }
        // Make the tensors contiguous here, once instead of for every batch.
        let inputs = inputs.detach().contiguous()?;
        let targets = targets.detach().contiguous()?;
        Ok(Self { inputs, targets, batch_size: 64, shuffle: false, drop_last: false })
    }

    /// Sets the number of examples in a batch, by default 64.
    pub fn batch_size(mut self, examples: usize) -> Self {
        self.batch_size = examples;
        self
    }

    /// Sets whether to shuffle the examples in every epoch. Default: `false`. [`manual_seed`](crate::manual_seed)
    /// makes the order reproducible.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Sets whether to drop the last batch if it is incomplete. Default: `false`.
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// Returns the number of examples.
    pub fn len(&self) -> usize {
        self.inputs.dims()[0]
    }

    /// Returns `true` if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of batches, or `None` if the batch size is 0.
    fn batches(&self) -> Option<usize> {
        if self.drop_last {
            self.len().checked_div(self.batch_size)
        } else {
            (self.batch_size > 0).then(|| self.len().div_ceil(self.batch_size))
        }
    }

    /// Returns a lazy iterator over the batches of one epoch.
    fn into_epoch(self) -> Result<Epoch<'static>> {
        let batches = self.batches().ok_or_else(|| Error::msg("expected a batch size above 0, found 0"))?;
        let order = if self.shuffle { Some(self.random_order()?) } else { None };
        Ok(Box::new(TensorEpoch { data: self, order, indices: 0..batches }))
    }

    /// Returns the indices of all examples in random order, `[examples]`.
    fn random_order(&self) -> Result<Tensor> {
        let examples = u32::try_from(self.len()).map_err(|_| Error::msg("too many examples to shuffle"))?;
        Ok(Tensor::from_vec(random::permutation(examples), self.len(), self.inputs.device())?)
    }

    /// Returns the batch that starts at position `start` of `order`, or of the data set if `order` is `None`.
    fn batch(&self, start: usize, order: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let len = self.batch_size.min(self.len() - start);
        match order {
            Some(order) => {
                let order = order.narrow(0, start, len)?;
                Ok((select(&self.inputs, &order)?, select(&self.targets, &order)?))
            }
            None => Ok((self.inputs.narrow(0, start, len)?, self.targets.narrow(0, start, len)?)),
        }
    }
}

/// The batches of one epoch. Skipped batches are not selected.
struct TensorEpoch {
    data: TensorDataset,
    order: Option<Tensor>,
    /// The indices of the remaining batches.
    indices: Range<usize>,
}

impl Iterator for TensorEpoch {
    type Item = Result<(Tensor, Tensor)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.nth(0)
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let index = self.indices.nth(n)?;
        Some(self.data.batch(index * self.data.batch_size, self.order.as_ref()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

/// Returns the examples of `tensor` at `indices`.
fn select(tensor: &Tensor, indices: &Tensor) -> Result<Tensor> {
    Ok(tensor.index_select(&indices.to_device(tensor.device())?, 0)?)
}

impl Batches for TensorDataset {
    type Batch = (Tensor, Tensor);

    fn epoch(&self) -> Result<Epoch<'_>> {
        self.clone().into_epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        self.batches()
    }
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

impl<B: Batches + ?Sized> Batches for &B {
    type Batch = B::Batch;

    fn epoch(&self) -> Result<Epoch<'_, B::Batch>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}

impl<B: Batches + ?Sized> Batches for Box<B> {
    type Batch = B::Batch;

    fn epoch(&self) -> Result<Epoch<'_, B::Batch>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}

/// Creates a source of batches from a function that returns an iterator. The function is called once per epoch. It may
/// open a file or draw random examples, for instance.
///
/// ```
/// use sconce::candle::{DType, Device, Tensor};
/// use sconce::random;
/// use sconce::train::data::{Batches, from_fn};
///
/// let noise = from_fn(|| {
///     (0..10).map(|_| {
///         let x = random::normal((8, 2), 0., 1., DType::F32, &Device::Cpu)?;
///         Ok((x.clone(), x.sum(1)?))
///     })
/// })
/// .batches(10);
/// assert_eq!(noise.epoch()?.count(), 10);
/// # Ok::<(), sconce::Error>(())
/// ```
pub fn from_fn<F, I, B>(epoch: F) -> FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<B>>,
    B: Batch,
{
    FromFn { epoch, batches: None }
}

/// The source of batches that [`from_fn`] returns.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::from_fn;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let data = from_fn(|| vec![Ok((x.clone(), x.clone()))]);
/// assert_eq!(data.len_hint(), None);
/// assert_eq!(data.batches(1).len_hint(), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FromFn<F> {
    epoch: F,
    batches: Option<usize>,
}

impl<F> FromFn<F> {
    /// Sets the number of batches per epoch, for progress bars.
    pub fn batches(mut self, batches: usize) -> Self {
        self.batches = Some(batches);
        self
    }
}

impl<F, I, B> Batches for FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<B>>,
    I::IntoIter: 'static,
    B: Batch,
{
    type Batch = B;

    fn epoch(&self) -> Result<Epoch<'_, B>> {
        Ok(Box::new((self.epoch)().into_iter()))
    }

    fn len_hint(&self) -> Option<usize> {
        self.batches
    }
}
