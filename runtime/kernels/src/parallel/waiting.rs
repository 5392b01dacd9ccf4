//! Helper threads that have finished a [`Job`] wait a short time for the next job.
//!
//! A few microseconds pass between two layers of a network. An idle thread of rayon's pool makes a system call each
//! time it looks for work, and soon sleeps. Waking the thread costs the caller more than a microsecond, and the thread
//! starts only when a small layer is already done. Helpers therefore poll one memory location, for about as long as the
//! longest single-threaded layer runs.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Job;

/// The number of polls between two yields. These polls take about 2 microseconds.
const POLLS: usize = 32;
/// The number of yields before a helper stops waiting. A helper waits about 60 microseconds in total.
const YIELDS: usize = 32;

/// The jobs that are offered to waiting helpers: one entry for each helper that is to take a job. There are never more
/// entries than waiting helpers, and every entry is taken, because a helper stops waiting only when it takes a job or
/// finds the queue empty.
static QUEUE: Mutex<Queue> = Mutex::new(Queue { jobs: Vec::new(), waiting: 0 });
/// The number of jobs in the queue, readable without the lock.
static QUEUED: AtomicUsize = AtomicUsize::new(0);

struct Queue {
    jobs: Vec<Arc<Job>>,
    /// The number of waiting helpers.
    waiting: usize,
}

thread_local! {
    static IS_WAITING: Cell<bool> = const { Cell::new(false) };
}

/// Offers a job to at most `wanted` of the waiting helpers. Returns the number of helpers that will take it.
pub(super) fn offer(job: &Arc<Job>, wanted: usize) -> usize {
    let mut queue = queue();
    let count = wanted.min(queue.waiting - queue.jobs.len());
    queue.jobs.extend(std::iter::repeat_n(job, count).cloned());
    QUEUED.store(queue.jobs.len(), Ordering::Relaxed);
    count
}

/// Waits for jobs on a thread of the pool, and helps with them, until no job arrives in time.
pub(super) fn help_until_idle() {
    // `rayon::yield_now` runs other work of the pool, which may call this function again.
    if IS_WAITING.replace(true) {
        return;
    }
    start_waiting();
    while let Some(job) = next() {
        job.help();
        start_waiting();
    }
    IS_WAITING.set(false);
}

/// Counts the calling helper as waiting.
fn start_waiting() {
    queue().waiting += 1;
}

/// Waits for the next job, or returns `None` if no job arrives in time. During the call, the calling helper is counted
/// as waiting.
fn next() -> Option<Arc<Job>> {
    for _ in 0..YIELDS {
        for _ in 0..POLLS {
            if QUEUED.load(Ordering::Relaxed) > 0
                && let Some(job) = leave(&mut queue(), false)
            {
                return Some(job);
            }
            std::hint::spin_loop();
        }
        rayon::yield_now();
        std::thread::yield_now();
    }
    leave(&mut queue(), true)
}

/// Takes a job and stops waiting. If there is no job, stops waiting only if `always` is set.
fn leave(queue: &mut Queue, always: bool) -> Option<Arc<Job>> {
    let job = queue.jobs.pop();
    QUEUED.store(queue.jobs.len(), Ordering::Relaxed);
    queue.waiting -= usize::from(always || job.is_some());
    job
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}
