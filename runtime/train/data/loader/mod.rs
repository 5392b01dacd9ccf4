//! The data loader: a data set becomes shuffled batches, which worker threads prepare ahead of time.

mod batch_reader;
mod epoch;
mod order;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::train::batch::Batch;
use crate::{Error, Result, random};

use super::batches::check_step;
use super::{Batches, Collate, Dataset, Epoch, Generator, WeightedSampler};

use batch_reader::{BatchReader, CollateFn};
use order::Order;

pub use epoch::LoaderEpoch;

/// Collects the examples of a [`Dataset`] into batches.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::dataset_fn;
/// # fn main() -> Result<()> {
/// let data = dataset_fn(10, |i, _| Ok((Tensor::full(i as f32, (1, 8, 8), &Device::Cpu)?, i as u32)));
/// let loader = DataLoader::new(data).batch_size(4).shuffle(true).seed(0).workers(2);
/// let shapes: Vec<Vec<usize>> =
///     loader.iter()?.map(|batch| Ok(batch?.0.dims().to_vec())).collect::<Result<_>>()?;
/// assert_eq!(shapes, [[4, 1, 8, 8], [4, 1, 8, 8], [2, 1, 8, 8]]);
/// # Ok(())
/// # }
/// ```
///
/// # Workers
///
/// With [`workers`](Self::workers), threads read and collate batches ahead of time, at most two batches for each
/// worker. The threads start when the first batch is requested. They end after the last batch. If the iterator is
/// dropped earlier, each thread ends after the example that it is reading. The order and the values of the batches are
/// the same for any number of workers.
///
/// # Random numbers
///
/// The order depends only on the seed and the epoch. The random numbers of an example also depend on its index, and on
/// how often the index occurred earlier in the epoch. With [`seed`](Self::seed), the loader numbers its epochs from 0.
/// Without a seed, each epoch draws one from the shared generator of [`random`], which
/// [`manual_seed`](crate::manual_seed) makes reproducible. To continue in the middle of an epoch, skip batches with
/// [`nth`](Iterator::nth) or [`skip`](Iterator::skip), which read no examples unless
/// [`skip_corrupt`](Self::skip_corrupt) is set.
///
/// # Errors
///
/// An error or a panic of [`Dataset::get`] becomes the error of its batch, with the index of the example. The iterator
/// continues with the next batch.
pub struct DataLoader<D: Dataset, B> {
    dataset: Arc<D>,
    collate: CollateFn<D::Example, B>,
    batch_size: usize,
    order: Order,
    seed: Option<u64>,
    /// The number of the next epoch, for loaders with a seed.
    epoch: AtomicU64,
    drop_last: bool,
    workers: usize,
    skip_corrupt: bool,
    skipped: Arc<AtomicUsize>,
}

impl<D> DataLoader<D, <D::Example as Collate>::Batch>
where
    D: Dataset + 'static,
    D::Example: Collate,
{
    /// Creates a loader of batches of 64 examples in order, without workers.
    pub fn new(dataset: D) -> Self {
        Self::with_collate(dataset, D::Example::collate)
    }
}

impl<D: Dataset, B> DataLoader<D, B> {
    /// Creates a loader that builds batches with `collate`, for examples that do not implement [`Collate`]. The second
    /// argument of `collate` is the indices of the examples, for error messages.
    ///
    /// ```
    /// use sconce::train::data::{DataLoader, dataset_fn};
    ///
    /// let words = dataset_fn(3, |index, _| Ok(["one", "two", "three"][index]));
    /// let loader = DataLoader::with_collate(words, |words, _indices| Ok(words.join(" ")));
    /// assert_eq!(loader.iter()?.next().expect("there is one batch")?, "one two three");
    /// # Ok::<(), sconce::Error>(())
    /// ```
    pub fn with_collate<F>(dataset: D, collate: F) -> Self
    where
        F: Fn(Vec<D::Example>, &[usize]) -> Result<B> + Send + Sync + 'static,
    {
        Self {
            dataset: Arc::new(dataset),
            collate: Arc::new(move |examples, indices, _| collate(examples, indices)),
            batch_size: 64,
            order: Order::Sequential,
            seed: None,
            epoch: AtomicU64::new(0),
            drop_last: false,
            workers: 0,
            skip_corrupt: false,
            skipped: Arc::default(),
        }
    }

    /// Applies `f` to each batch, in the workers. The random numbers of `f` depend only on the seed, the epoch and the
    /// position of the batch.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// use sconce::train::data::dataset_fn;
    /// # fn main() -> Result<()> {
    /// let data = dataset_fn(4, |index, _| Ok((index as f32, index as u32)));
    /// let loader = DataLoader::new(data).map_batches(|(x, y), rng| Ok((x.affine(rng.uniform(0.9, 1.1), 0.)?, y)));
    /// assert_eq!(loader.iter()?.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_batches<F, C>(self, f: F) -> DataLoader<D, C>
    where
        F: Fn(B, &mut Generator) -> Result<C> + Send + Sync + 'static,
        D: 'static,
        B: 'static,
    {
        let collate = self.collate;
        DataLoader {
            dataset: self.dataset,
            collate: Arc::new(move |examples, indices, rng| f(collate(examples, indices, rng)?, rng)),
            batch_size: self.batch_size,
            order: self.order,
            seed: self.seed,
            epoch: self.epoch,
            drop_last: self.drop_last,
            workers: self.workers,
            skip_corrupt: self.skip_corrupt,
            skipped: self.skipped,
        }
    }

    /// Sets the number of examples in a batch, by default 64.
    pub fn batch_size(mut self, examples: usize) -> Self {
        self.batch_size = examples;
        self
    }

    /// Sets whether to shuffle the examples in every epoch. Default: `false`. Replaces a
    /// [`sampler`](DataLoader::sampler).
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.order = if shuffle { Order::Shuffled } else { Order::Sequential };
        self
    }

    /// Draws the examples of each epoch with `sampler`. Replaces [`shuffle`](Self::shuffle).
    pub fn sampler(mut self, sampler: WeightedSampler) -> Self {
        self.order = Order::Weighted(sampler);
        self
    }

    /// Sets the seed of the order and of the random transforms. By default, each epoch draws a seed from the shared
    /// generator of [`random`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets whether to drop the last batch if it is incomplete. Default: `false`. It is an error if no batch remains.
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// Sets the number of worker threads. By default, there are none, and the thread that calls `next` reads the
    /// examples.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = threads;
        self
    }

    /// Sets whether to skip examples for which [`Dataset::get`] returns an error, such as corrupt files. Default:
    /// `false`. A batch with skipped examples is smaller; a batch without examples is left out. If every example of an
    /// epoch is skipped, the epoch returns an error. [`skipped`](Self::skipped) counts the skipped examples.
    pub fn skip_corrupt(mut self, skip: bool) -> Self {
        self.skip_corrupt = skip;
        self
    }

    /// Returns the number of examples that were skipped in the batches of all epochs so far. See
    /// [`skip_corrupt`](Self::skip_corrupt).
    pub fn skipped(&self) -> usize {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Returns the data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Returns the number of batches per epoch, or `None` if the batch size is 0.
    fn batch_count(&self) -> Option<usize> {
        let examples = self.order.count(self.dataset.len());
        batch_count(examples, self.batch_size, self.drop_last)
    }
}

impl<D, B> DataLoader<D, B>
where
    D: Dataset + 'static,
    B: Send + 'static,
{
    /// Starts an epoch and returns an iterator over its batches.
    ///
    /// # Errors
    /// Fails if the batch size is 0, if [`drop_last`](Self::drop_last) leaves no batch, or if the number of weights of
    /// the [`sampler`](Self::sampler) is not the number of examples.
    pub fn iter(&self) -> Result<LoaderEpoch<B>> {
        self.part(0, 1)
    }

    /// Starts an epoch and returns an iterator over every `step`-th batch from `first` on.
    fn part(&self, first: usize, step: usize) -> Result<LoaderEpoch<B>> {
        let examples = self.order.count(self.dataset.len());
        let batches = checked_batch_count(examples, self.batch_size, self.drop_last)?;
        let key = match self.seed {
            Some(seed) => [seed, self.epoch.fetch_add(1, Ordering::Relaxed)],
            None => [random::draw_seed(), 0],
        };
        let reader = BatchReader {
            dataset: self.dataset.clone(),
            collate: self.collate.clone(),
            draws: self.order.draws(self.dataset.len(), key)?,
            key,
            batch_size: self.batch_size,
            first,
            step,
            skip_corrupt: self.skip_corrupt,
        };
        let batches = batches.saturating_sub(first).div_ceil(step);
        Ok(LoaderEpoch::new(reader, batches, self.workers, self.skipped.clone()))
    }
}

impl<D, B> Batches for DataLoader<D, B>
where
    D: Dataset + 'static,
    B: Batch + Send + 'static,
{
    type Batch = B;

    fn epoch(&self) -> Result<Epoch<'_, B>> {
        Ok(Box::new(self.iter()?))
    }

    fn epoch_part(&self, first: usize, step: usize) -> Result<Epoch<'_, B>> {
        check_step(step)?;
        // A batch without examples is left out, so batches must be read to be counted.
        if self.skip_corrupt {
            return Ok(Box::new(self.iter()?.skip(first).step_by(step)));
        }
        Ok(Box::new(self.part(first, step)?))
    }

    fn len_hint(&self) -> Option<usize> {
        self.batch_count()
    }

    fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }
}

impl<D: Dataset + fmt::Debug, B> fmt::Debug for DataLoader<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataLoader")
            .field("dataset", &self.dataset)
            .field("batch_size", &self.batch_size)
            .field("order", &self.order)
            .field("seed", &self.seed)
            .field("drop_last", &self.drop_last)
            .field("workers", &self.workers)
            .field("skip_corrupt", &self.skip_corrupt)
            .finish_non_exhaustive()
    }
}

/// Returns the number of batches in an epoch of `examples` examples, or `None` if the batch size is 0.
pub(super) fn batch_count(examples: usize, batch_size: usize, drop_last: bool) -> Option<usize> {
    let complete = examples.checked_div(batch_size)?;
    Some(if drop_last { complete } else { examples.div_ceil(batch_size) })
}

/// Returns the number of batches. Returns an error if the batch size is 0 or if `drop_last` leaves no batch.
pub(super) fn checked_batch_count(examples: usize, batch_size: usize, drop_last: bool) -> Result<usize> {
    let batches = batch_count(examples, batch_size, drop_last)
        .ok_or_else(|| Error::msg("expected a batch size above 0, found 0"))?;
    if batches == 0 && examples > 0 {
        return Err(Error::msg(format!(
            "`drop_last` leaves no batch: expected at least {batch_size} examples for one batch, found {examples} \
             (set a smaller batch size, or `drop_last(false)`)"
        )));
    }
    Ok(batches)
}
