//! Reads the examples of a batch and collates them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

use super::super::{Dataset, Generator};
use super::order::{Draw, NO_EXAMPLE};

/// Builds a batch from its examples and their indices.
pub(super) type CollateFn<E, B> = Arc<dyn Fn(Vec<E>, &[usize], &mut Generator) -> Result<B> + Send + Sync>;

/// Reads the examples of an epoch and collates them into batches.
pub(super) struct BatchReader<D: Dataset, B> {
    pub dataset: Arc<D>,
    pub collate: CollateFn<D::Example, B>,
    pub draws: Vec<Draw>,
    /// The seed and the number of the epoch.
    pub key: [u64; 2],
    pub batch_size: usize,
    /// The batch of the epoch at position 0.
    pub first: usize,
    /// The number of batches of the epoch from one position to the next.
    pub step: usize,
    pub skip_corrupt: bool,
}

/// The result of reading a batch.
pub(super) struct ReadOutcome<B> {
    /// `None` if every example was skipped.
    pub batch: Option<Result<B>>,
    /// The number of examples that were skipped.
    pub skipped: usize,
    /// The error of the first example that was skipped.
    pub first_error: Option<Error>,
}

/// Reads the batch at `position`. The reader turns panics of the data set and of the collation into errors. This
/// function also turns any other panic, such as one in the destructor of an example, into the error of the batch: if a
/// panic ended a worker thread, the consumer would wait for the batch forever.
pub(super) fn read<B>(reader: &dyn ReadBatch<B>, position: usize, stopped: &AtomicBool) -> ReadOutcome<B> {
    catch(|| reader.read(position, stopped)).unwrap_or_else(|error| {
        let error = Error::msg(format!("batch {}: {error}", position + 1));
        ReadOutcome { batch: Some(Err(error)), skipped: 0, first_error: None }
    })
}

/// An object-safe [`BatchReader`].
pub(super) trait ReadBatch<B>: Send + Sync {
    /// Returns the batch at `position`. After `stopped` is set, returns early with a result that is discarded.
    fn read(&self, position: usize, stopped: &AtomicBool) -> ReadOutcome<B>;
}

impl<D: Dataset, B: Send> ReadBatch<B> for BatchReader<D, B> {
    fn read(&self, position: usize, stopped: &AtomicBool) -> ReadOutcome<B> {
        let position = self.first + position * self.step;
        let start = position * self.batch_size;
        let end = (start + self.batch_size).min(self.draws.len());
        let mut examples = Vec::with_capacity(end - start);
        let mut indices = Vec::with_capacity(end - start);
        let mut outcome = ReadOutcome { batch: None, skipped: 0, first_error: None };
        for draw in &self.draws[start..end] {
            if stopped.load(Ordering::Relaxed) {
                return outcome;
            }
            match self.example(*draw) {
                Ok(Ok(example)) => {
                    examples.push(example);
                    indices.push(draw.index);
                }
                Ok(Err(error)) if self.skip_corrupt => {
                    outcome.skipped += 1;
                    outcome.first_error.get_or_insert(error);
                }
                Ok(Err(error)) | Err(error) => {
                    outcome.batch = Some(Err(error));
                    return outcome;
                }
            }
        }
        if !examples.is_empty() {
            outcome.batch = Some(self.batch(position, examples, &indices));
        }
        outcome
    }
}

impl<D: Dataset, B> BatchReader<D, B> {
    /// Reads an example. The outer error is a panic, the inner error a corrupt example.
    fn example(&self, draw: Draw) -> Result<Result<D::Example>> {
        let [seed, epoch] = self.key;
        let mut rng = Generator::from_key([seed, epoch, draw.index as u64, draw.repeat]);
        let name = |error: Error| Error::msg(format!("example {}: {error}", draw.index));
        let example = catch(|| self.dataset.get(draw.index, &mut rng)).map_err(name)?;
        Ok(example.map_err(name))
    }

    /// Builds the batch at `position`.
    fn batch(&self, position: usize, examples: Vec<D::Example>, indices: &[usize]) -> Result<B> {
        let [seed, epoch] = self.key;
        let mut rng = Generator::from_key([seed, epoch, position as u64, NO_EXAMPLE]);
        let batch = catch(|| (self.collate)(examples, indices, &mut rng)).flatten();
        batch.map_err(|error| Error::msg(format!("batch {}: {error}", position + 1)))
    }
}

/// Calls `f` and turns a panic into an error.
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T> {
    // After a panic, the caller drops everything that `f` changed. The data set is kept, but `get` takes it by `&self`.
    catch_unwind(AssertUnwindSafe(f))
        .map_err(|payload| Error::msg(format!("panicked: {}", message(&*payload))))
}

/// Returns the message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
