//! Worker threads, which read batches ahead of the consumer.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::{Error, Result};

use super::batch_reader::{ReadBatch, ReadOutcome, catch, read};

/// The number of batches that may be ready or in progress, for each worker.
const BATCHES_PER_WORKER: usize = 2;

/// The worker threads of an epoch. Dropping them stops and joins the threads.
pub(super) struct Workers<B> {
    queue: Arc<Queue<B>>,
    threads: Vec<JoinHandle<()>>,
}

/// The batches in progress, shared by the consumer and the workers.
struct Queue<B> {
    state: Mutex<State<B>>,
    /// Notified when a batch is ready.
    ready: Condvar,
    /// Notified when a worker may start another batch.
    space: Condvar,
    /// The number of batches that may be ready or in progress.
    capacity: usize,
    /// The number of batches in the epoch.
    batches: usize,
    stopped: AtomicBool,
}

struct State<B> {
    /// The position of the next batch that a worker starts.
    next: usize,
    /// The position of the next batch that the consumer takes.
    wanted: usize,
    /// The finished batches that the consumer has not taken, by position.
    ready: BTreeMap<usize, ReadOutcome<B>>,
}

impl<B: Send + 'static> Workers<B> {
    /// Starts `count` threads for the batches from position `first` on.
    pub fn start(reader: &Arc<dyn ReadBatch<B>>, count: usize, first: usize, batches: usize) -> Result<Self> {
        let count = count.min(batches - first);
        let queue = Arc::new(Queue {
            state: Mutex::new(State { next: first, wanted: first, ready: BTreeMap::new() }),
            ready: Condvar::new(),
            space: Condvar::new(),
            capacity: count * BATCHES_PER_WORKER,
            batches,
            stopped: AtomicBool::new(false),
        });
        let mut workers = Self { queue, threads: Vec::with_capacity(count) };
        for index in 0..count {
            let reader = reader.clone();
            let queue = workers.queue.clone();
            let thread =
                Builder::new().name(format!("data loader {index}")).spawn(move || queue.work(&*reader));
            let thread = thread.map_err(|error| {
                Error::msg(format!("cannot start worker thread {} of {count}: {error}", index + 1))
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Waits for the next batch.
    pub fn take(&self) -> ReadOutcome<B> {
        let mut state = self.queue.lock();
        loop {
            let wanted = state.wanted;
            if let Some(outcome) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.queue.space.notify_all();
                return outcome;
            }
            state = self.queue.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Skips `count` batches. Workers do not start skipped batches.
    pub fn skip(&self, count: usize) {
        let mut state = self.queue.lock();
        state.wanted += count;
        let wanted = state.wanted;
        state.next = state.next.max(wanted);
        let kept = state.ready.split_off(&wanted);
        let dropped = mem::replace(&mut state.ready, kept);
        self.queue.space.notify_all();
        // Release the lock before the destructors of batches run.
        drop(state);
        drop(dropped);
    }
}

impl<B> Queue<B> {
    /// The loop of a worker thread.
    fn work(&self, reader: &dyn ReadBatch<B>) {
        while let Some(position) = self.claim() {
            let outcome = read(reader, position, &self.stopped);
            // `put` drops a skipped batch, whose destructor may panic.
            let _ = catch(|| self.put(position, outcome));
        }
    }

    /// Waits for space and returns the position of the next batch, or `None` if there is no more work.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if self.stopped.load(Ordering::Relaxed) || state.next >= self.batches {
                return None;
            }
            if state.next < state.wanted + self.capacity {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Passes a batch to the consumer, unless it was skipped.
    fn put(&self, position: usize, outcome: ReadOutcome<B>) {
        let mut state = self.lock();
        if position >= state.wanted {
            state.ready.insert(position, outcome);
            self.ready.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No user code runs while the lock is held, and every update leaves the state valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Drop for Workers<B> {
    fn drop(&mut self) {
        // Set the flag while the lock is held, so that no worker misses the flag between its check and its wait.
        let state = self.queue.lock();
        self.queue.stopped.store(true, Ordering::Relaxed);
        self.queue.space.notify_all();
        drop(state);
        for thread in self.threads.drain(..) {
            // A worker catches panics. Joining the thread fails only if the payload of a caught panic panicked when it
            // was dropped.
            let _ = thread.join();
        }
    }
}
