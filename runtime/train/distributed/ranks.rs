//! The operations of the trainer on other ranks: sums, gathered numbers, broadcasts, and stopping all ranks after an
//! error.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use candle_core::{Device, Tensor};

use crate::checkpoint::{StateDict, checksum};
use crate::kernels::internal::{SumOverRanks, with_statistics_of_ranks};
use crate::train::batch::Batch;
use crate::train::data::{Batches, Epoch};
use crate::{Error, Result, random};

use super::queue::{Pending, Queue};
use super::stats::Counters;
use super::{Communication, Communicator, Compression, Distributed};

/// The ranks of a distributed training, seen from one of them.
pub(in crate::train) struct Ranks {
    /// Before the settings, so that the thread of the queue ends before this thread drops the communicator: MPI must
    /// end on the thread that started it.
    queue: Queue,
    pub(super) settings: Distributed,
    counters: Arc<Counters>,
    /// The random number generator of this rank, unless the rank is 0, which uses the generator of the process.
    random_state: Mutex<Option<random::State>>,
}

impl Ranks {
    /// Starts the thread that communicates. Gives each rank a random number generator of its own.
    pub fn new(settings: Distributed) -> Result<Arc<Self>> {
        let queue = Queue::start(settings.communicator.clone())?;
        let ranks = Self { settings, counters: Arc::default(), queue, random_state: Mutex::default() };
        let state = ranks.random_state_of_root()?;
        ranks.set_random_state(&state);
        Ok(Arc::new(ranks))
    }

    pub fn rank(&self) -> usize {
        self.settings.communicator.rank()
    }

    pub fn size(&self) -> usize {
        self.settings.communicator.size()
    }

    /// Returns `true` for the rank that writes files and prints.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    pub fn communication(&self) -> Communication {
        self.counters.read()
    }

    /// Returns the sum of a tensor `[n]` over all ranks.
    fn all_reduce(&self, values: Tensor) -> Pending<Tensor> {
        self.queue.submit(move |communicator| communicator.all_reduce(&values))
    }

    /// Returns the sums of a list of numbers over all ranks. Every rank must pass as many numbers.
    pub fn sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let values = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
        Ok(self.all_reduce(values).wait()?.to_vec1()?)
    }

    /// Returns the numbers of each rank. Every rank must pass as many numbers.
    pub fn gather(&self, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        if values.is_empty() {
            return Ok(vec![Vec::new(); self.size()]);
        }
        let sums = self.sum(&self.row(values))?;
        Ok(sums.chunks(values.len()).map(<[f64]>::to_vec).collect())
    }

    /// Returns the matrix `[ranks, values]`, flattened, with `values` in the row of this rank, and 0 in the other rows.
    pub(super) fn row(&self, values: &[f64]) -> Vec<f64> {
        let mut matrix = vec![0.; self.size() * values.len()];
        matrix[self.rank() * values.len()..][..values.len()].copy_from_slice(values);
        matrix
    }

    /// Returns the lists of all ranks, whose lengths may differ.
    pub fn gather_lists(&self, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        let lengths = self.gather(&[values.len() as f64])?;
        let lengths: Vec<usize> = lengths.iter().map(|length| length[0] as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = values.to_vec();
        padded.resize(longest, 0.);
        let mut lists = self.gather(&padded)?;
        lists.iter_mut().zip(lengths).for_each(|(list, length)| list.truncate(length));
        Ok(lists)
    }

    /// Returns the tensor of rank 0.
    pub fn broadcast(&self, values: &Tensor) -> Result<Tensor> {
        if values.elem_count() == 0 {
            return Ok(values.clone());
        }
        // A communicator may return the same tensor. The caller may write the result to `values`.
        let flat = values.detach().copy()?.flatten_all()?;
        let received = self.queue.submit(move |communicator| communicator.broadcast(&flat, 0)).wait()?;
        Ok(received.reshape(values.shape())?)
    }

    /// Returns the state of the random number generator of rank 0.
    pub fn random_state_of_root(&self) -> Result<random::State> {
        // The text of a state has at most 64 + 20 + 40 characters, three separators, and `false`.
        const LENGTH: usize = 160;
        let mut text = random::state().to_string().into_bytes();
        text.resize(LENGTH, b' ');
        let text = self.broadcast(&Tensor::from_vec(text, LENGTH, &Device::Cpu)?)?.to_vec1::<u8>()?;
        String::from_utf8_lossy(&text).trim_end().parse()
    }

    /// Lets this rank draw numbers that are independent of those of other ranks. `state` is the state of rank 0.
    pub fn set_random_state(&self, state: &random::State) {
        let state = (!self.is_root()).then(|| state.for_rank(self.rank(), 0));
        *self.random_state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Runs `f` with the random number generator of this rank.
    pub fn with_random_state<T>(&self, f: impl FnOnce() -> T) -> T {
        let lock = || self.random_state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = lock().take() else { return f() };
        let (result, state) = random::with_state(&state, f);
        // `f` sets another state if it resumes a run.
        lock().get_or_insert(state);
        result
    }

    /// Returns the batches of this rank in an epoch of evaluation data. If the data is shuffled, all ranks draw the
    /// same order, from the generator of rank 0.
    pub fn part_of_epoch<'d, B>(&self, data: &'d dyn Batches<Batch = B>) -> Result<Epoch<'d, B>>
    where
        B: Batch,
    {
        let state = self.random_state_of_root()?;
        let (epoch, after) = random::with_state(&state, || data.epoch_part(self.rank(), self.size()));
        if self.is_root() {
            random::set_state(&after);
        }
        epoch
    }

    /// Runs `f`. With synchronized batch norm, the statistics are those of all ranks. `examples` is the number of
    /// examples in the batch of this rank, over which its loss is a mean. If it is 0, the batch does not contribute.
    pub fn with_batch_norm<T>(self: &Arc<Self>, examples: usize, f: impl FnOnce() -> T) -> T {
        if !self.settings.sync_batch_norm {
            return f();
        }
        let ranks = self.clone();
        let sum: SumOverRanks = Arc::new(move |values: &mut [f64]| {
            values.copy_from_slice(&ranks.sum(values)?);
            Ok(())
        });
        with_statistics_of_ranks(sum, examples, f)
    }

    pub fn syncs_batch_norm(&self) -> bool {
        self.settings.sync_batch_norm
    }

    /// Sums a bucket over all ranks. `pack` creates the tensor `[n]` of this rank.
    pub(super) fn reduce_bucket(
        &self,
        pack: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) -> Pending<Tensor> {
        let compression = self.settings.compression.map(Compression::dtype);
        let counters = self.counters.clone();
        self.queue.submit(move |communicator| {
            let start = Instant::now();
            let values = pack()?;
            let dtype = values.dtype();
            let sent = match compression {
                Some(compressed) if dtype.size_in_bytes() > compressed.size_in_bytes() => {
                    values.to_dtype(compressed)?
                }
                _ => values,
            };
            let bytes = sent.elem_count() * sent.dtype().size_in_bytes();
            let sum = communicator.all_reduce(&sent)?.to_dtype(dtype)?;
            counters.add_bucket(bytes, start);
            Ok(sum)
        })
    }

    /// Counts a step that has waited for its buckets since `start`.
    pub(super) fn count_step(&self, start: Instant) {
        self.counters.add_step(start);
    }

    /// Stops all ranks if `result` is an error, and returns `result`.
    pub fn stop_on_error<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.settings.communicator.abort(&error.to_string());
        }
        result
    }

    /// Returns an error that names the first setting whose value differs between ranks. Every rank must pass the same
    /// names.
    pub fn check_equal_settings(&self, settings: &[(&str, String)]) -> Result<()> {
        let hash = |(_, value): &(&str, String)| Ok(f64::from(checksum(value, &StateDict::new())?));
        let all = self.gather(&settings.iter().map(hash).collect::<Result<Vec<_>>>()?)?;
        let differs = |rank: &Vec<f64>| rank.iter().zip(&all[0]).position(|(hash, first)| hash != first);
        let found = all.iter().enumerate().find_map(|(rank, hashes)| Some((rank, differs(hashes)?)));
        match found {
            Some((rank, index)) => {
                let (name, value) = &settings[index];
                Err(Error::msg(format!(
                    "the ranks differ in the {name}: rank {rank} has another than rank 0; rank {} has `{value}`",
                    self.rank()
                )))
            }
            None => Ok(()),
        }
    }

    /// Returns an error unless all ranks have the same number.
    pub fn check_equal(&self, what: &str, value: usize) -> Result<()> {
        let values = self.gather(&[value as f64])?;
        match values.iter().position(|other| other[0] != values[0][0]) {
            Some(rank) => Err(Error::msg(format!(
                "the ranks differ in the {what}: rank 0 has {}, rank {rank} has {}",
                values[0][0], values[rank][0]
            ))),
            None => Ok(()),
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        if thread::panicking() {
            // The thread of the queue may wait for other ranks, and they for this one.
            self.settings.communicator.abort("the rank panicked");
        }
    }
}
