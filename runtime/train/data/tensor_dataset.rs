//! A data set of two tensors.

use std::ops::Range;

use candle_core::Tensor;

use crate::{Error, Result, random};

use super::dataset::check_index;
use super::loader::{batch_count, checked_batch_count};
use super::{Batches, Dataset, Epoch, Generator};

/// A data set of inputs and targets: two tensors with the same first dimension.
///
/// As a source of batches, it reads each batch directly from the tensors. As a [`Dataset`], it is the input of a
/// [`DataLoader`](super::DataLoader) with transforms or worker threads. The loader has its own settings and ignores
/// [`batch_size`](Self::batch_size), [`shuffle`](Self::shuffle) and [`drop_last`](Self::drop_last) of the data set.
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

    /// Sets whether to drop the last batch if it is incomplete. Default: `false`. It is an error if no batch remains.
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
    pub(super) fn batches(&self) -> Option<usize> {
        batch_count(self.len(), self.batch_size, self.drop_last)
    }

    /// Returns a lazy iterator over the batches of one epoch.
    pub(super) fn into_epoch(self) -> Result<Epoch<'static>> {
        let batches = checked_batch_count(self.len(), self.batch_size, self.drop_last)?;
        let order = if self.shuffle { Some(self.random_order()?) } else { None };
        Ok(Box::new(TensorEpoch { data: self, order, indices: 0..batches }))
    }

    /// Returns the indices of all examples in random order, `[examples]`.
    fn random_order(&self) -> Result<Tensor> {
        let examples = u32::try_from(self.len()).map_err(|_| {
            Error::msg(format!("expected at most {} examples to shuffle, found {}", u32::MAX, self.len()))
        })?;
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

/// The batches of one epoch. `nth` does not copy the examples of the batches that it skips.
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

/// Each example is an input and a target, without the first dimension.
impl Dataset for TensorDataset {
    type Example = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, index: usize, _rng: &mut Generator) -> Result<Self::Example> {
        check_index(index, self.len())?;
        Ok((self.inputs.get(index)?, self.targets.get(index)?))
    }
}
