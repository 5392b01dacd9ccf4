//! The iterator over the batches of an epoch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{Error, Result};

use super::super::Dataset;
use super::batch_reader::{BatchReader, ReadBatch, ReadOutcome, read};
use super::workers::Workers;

/// The batches of one epoch of a [`DataLoader`](super::DataLoader).
///
/// Unless corrupt examples are skipped, `nth` and `skip` read no examples of the batches that they skip. Dropping the
/// iterator stops the workers and waits for them to finish the examples that they are reading.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::{LoaderEpoch, dataset_fn};
/// # fn main() -> Result<()> {
/// let data = dataset_fn(1_000_000, |index, _| Ok(index as u32));
/// let mut epoch: LoaderEpoch<Tensor> = DataLoader::new(data).batch_size(10).iter()?;
/// let batch = epoch.nth(99_999).expect("there are 100,000 batches")?; // reads only ten examples
/// assert_eq!(batch.to_vec1::<u32>()?[0], 999_990);
/// # Ok(())
/// # }
/// ```
pub struct LoaderEpoch<B> {
    reader: Arc<dyn ReadBatch<B>>,
    /// The position of the next batch.
    next: usize,
    batches: usize,
    workers: usize,
    /// The worker threads, started when the first batch is read.
    running: Option<Workers<B>>,
    skip_corrupt: bool,
    skipped: Arc<AtomicUsize>,
    /// The error of the first skipped example, until the epoch has returned a batch.
    first_error: Option<Error>,
    /// `true` until the epoch has returned a batch.
    is_empty: bool,
}

impl<B: Send + 'static> LoaderEpoch<B> {
    pub(super) fn new<D: Dataset + 'static>(
        reader: BatchReader<D, B>,
        batches: usize,
        workers: usize,
        skipped: Arc<AtomicUsize>,
    ) -> Self {
        let skip_corrupt = reader.skip_corrupt;
        Self {
            reader: Arc::new(reader),
            next: 0,
            batches,
            workers,
            running: None,
            skip_corrupt,
            skipped,
            first_error: None,
            is_empty: true,
        }
    }

    /// Returns the batch at the next position.
    fn read(&mut self) -> Result<ReadOutcome<B>> {
        if self.workers == 0 {
            return Ok(read(&*self.reader, self.next, &AtomicBool::new(false)));
        }
        let workers = match &mut self.running {
            Some(workers) => workers,
            None => {
                let workers = Workers::start(&self.reader, self.workers, self.next, self.batches)?;
                self.running.insert(workers)
            }
        };
        Ok(workers.take())
    }

    /// Returns an error if every example of the epoch was skipped, and `None` otherwise. Returns the error only once.
    fn take_first_error(&mut self) -> Option<Result<B>> {
        let error = self.first_error.take()?;
        Some(Err(Error::msg(format!("every example of the epoch was skipped; the first error: {error}"))))
    }
}

impl<B: Send + 'static> Iterator for LoaderEpoch<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        while self.next < self.batches {
            let outcome = match self.read() {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.next = self.batches;
                    return Some(Err(error));
                }
            };
            self.next += 1;
            self.skipped.fetch_add(outcome.skipped, Ordering::Relaxed);
            if let Some(batch) = outcome.batch {
                self.is_empty = false;
                self.first_error = None;
                return Some(batch);
            }
            if self.is_empty && self.first_error.is_none() {
                self.first_error = outcome.first_error;
            }
        }
        self.running = None;
        self.take_first_error()
    }

    fn nth(&mut self, n: usize) -> Option<Result<B>> {
        if self.skip_corrupt {
            // A batch without examples is left out, so batches must be read to be counted.
            for _ in 0..n {
                let _ = self.next()?;
            }
            return self.next();
        }
        let count = n.min(self.batches - self.next);
        if count > 0 {
            self.next += count;
            if let Some(workers) = &self.running {
                workers.skip(count);
            }
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batches - self.next;
        // With skipped examples, batches can be missing, and an epoch without batches returns one error.
        if self.skip_corrupt { (0, left.checked_add(1)) } else { (left, Some(left)) }
    }
}

impl<B> fmt::Debug for LoaderEpoch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderEpoch")
            .field("next", &self.next)
            .field("batches", &self.batches)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
