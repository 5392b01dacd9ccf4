//! Parallel execution on the threads of rayon's pool.

pub(crate) mod cost;
mod waiting;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Calls `run` with every index below `count`, on this thread and on helper threads of the pool.
///
/// The calling thread starts immediately. With a parallel iterator of rayon, the calling thread would sleep until the
/// pool has finished, and waking a thread takes longer than a small layer. Each thread has a share of consecutive
/// indices, so that its cache already holds the data that the same share of the preceding call wrote. A thread that has
/// finished its share takes indices from the shares of the others. Therefore `run` must not rely on being called by a
/// certain thread, or in a certain order.
///
/// The calling thread does not wait for helpers that arrive after all indices are taken. It spins until all other
/// helpers have finished their last call of `run`.
pub(crate) fn for_each(count: usize, run: &(dyn Fn(usize) + Sync)) {
    #[cfg(feature = "testing")]
    counts::record(count);
    let helpers = rayon::current_num_threads().min(count).saturating_sub(1);
    if helpers == 0 {
        return (0..count).for_each(run);
    }
    let run: *const (dyn Fn(usize) + Sync + '_) = run;
    // SAFETY: only the lifetime of the pointee changes. The pointer is dereferenced only before this function returns,
    // and the argument `run` lives until then.
    let run = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), ErasedClosure>(run) };
    let taken = (0..=helpers).map(|_| TakenCount::default()).collect();
    let job = Job { run, count, taken, active: AtomicUsize::new(0), panic: Mutex::default() };
    let job = Arc::new(job);
    // Helpers that are waiting for a job take this one. The pool starts the other helpers.
    for _ in waiting::offer(&job, helpers)..helpers {
        let job = job.clone();
        rayon::spawn(move || {
            job.help();
            waiting::help_until_idle();
        });
    }
    let close = CloseOnDrop(&job);
    // SAFETY: `run` lives until this function returns.
    unsafe { job.work(0) };
    drop(close);
    let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// A pointer to the closure of [`for_each`], without its lifetime.
type ErasedClosure = *const (dyn Fn(usize) + Sync + 'static);

/// The state of one call to [`for_each`]. The call shares it with its helpers, which may outlive the call.
struct Job {
    /// Dereferenced only by the caller, and by helpers that entered before the caller closed the job. The caller waits
    /// for these helpers.
    run: ErasedClosure,
    count: usize,
    /// The number of indices taken from each thread's share.
    taken: Box<[TakenCount]>,
    /// The number of helpers that work on the job, and the bit [`CLOSED`].
    active: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A counter on a separate cache line, which stays in the cache of the thread that owns the share.
#[derive(Default)]
#[repr(align(64))]
struct TakenCount(AtomicUsize);

/// The bit of [`Job::active`] that keeps helpers from entering a closed job.
const CLOSED: usize = 1 << (usize::BITS - 1);

// SAFETY: `run` points to a `Sync` closure, which any thread may call.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Calls `run` with indices until all are taken, beginning with the indices of the share `own`.
    ///
    /// # Safety
    /// `run` must be alive.
    unsafe fn work(&self, own: usize) {
        let shares = self.taken.len();
        for share in (own..shares).chain(0..own) {
            let [start, end] = [share, share + 1].map(|share| share * self.count / shares);
            loop {
                let index = start + self.taken[share].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                // SAFETY: the caller guarantees that `run` is alive.
                unsafe { (*self.run)(index) };
            }
        }
    }

    /// Returns the share that this helper starts with. Helpers usually start with different shares, and a thread starts
    /// with the same share on every call of `for_each`.
    fn share(&self) -> usize {
        1 + rayon::current_thread_index().unwrap_or(0) % (self.taken.len() - 1)
    }

    /// Works on the job, unless it is closed.
    fn help(&self) {
        if self.active.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
            // SAFETY: the job was not closed, so `for_each` waits until this helper has left, and `run` is alive.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| unsafe { self.work(self.share()) })) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        self.active.fetch_sub(1, Ordering::Release);
    }
}

/// Closes a job and waits for its helpers on drop, even if the caller panics.
struct CloseOnDrop<'a>(&'a Job);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut polls = 0;
        self.0.active.fetch_or(CLOSED, Ordering::Relaxed);
        while self.0.active.load(Ordering::Acquire) != CLOSED {
            polls += 1;
            if polls < POLLS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// The number of polls before the waiting thread yields its core. These polls take about 20 microseconds.
const POLLS_BEFORE_YIELD: usize = 1000;

/// Calls `run` with every index below `count`, in parallel. A task calls it with `group` consecutive indices, or with
/// one if `group` is 0.
pub(crate) fn for_each_group(count: usize, group: usize, run: &(dyn Fn(usize) + Sync)) {
    let group = group.max(1);
    for_each(count.div_ceil(group), &|task| (task * group..count.min((task + 1) * group)).for_each(run));
}

/// Calls `run` with every chunk of `len` elements of `data` and its index, in parallel. The last chunk may be shorter.
pub(crate) fn for_each_chunk<T: Send>(data: &mut [T], len: usize, run: impl Fn(usize, &mut [T]) + Sync) {
    let start = SharedStart::of(data);
    let total = data.len();
    for_each(total.div_ceil(len.max(1)), &|index| {
        let first = index * len;
        // SAFETY: `first < total`, chunks are disjoint, and `data` is borrowed until `for_each` returns.
        run(index, unsafe { std::slice::from_raw_parts_mut(start.at(first), len.min(total - first)) });
    });
}

/// Divides `data` into rows of `row_len` elements and calls `run` with each row and its index, in parallel. A task has
/// rows with at least `min_elements` elements in total.
pub(crate) fn for_each_row<T: Send>(
    row_len: usize,
    min_elements: usize,
    data: &mut [T],
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    if row_len == 0 {
        return;
    }
    let rows_per_task = min_elements.div_ceil(row_len);
    for_each_chunk(data, rows_per_task * row_len, |task, data| {
        let rows = data.chunks_exact_mut(row_len).enumerate();
        rows.for_each(|(i, row)| run(task * rows_per_task + i, row));
    });
}

/// A pointer to the first element of a slice of which several threads access disjoint parts.
pub(crate) struct SharedStart<T>(*mut T);

impl<T> SharedStart<T> {
    pub(crate) fn of(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr())
    }

    pub(crate) fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: the type only computes pointers. Threads that dereference them access disjoint elements, which are `Send`.
unsafe impl<T: Send> Sync for SharedStart<T> {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{for_each, for_each_chunk};

    #[test]
    fn every_index_runs_once() {
        for count in [0, 1, 2, 7, 1000] {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each(count, &|index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn panics_reach_the_caller() {
        for culprit in [0, 63] {
            let call = || for_each(64, &|index| assert_ne!(index, culprit));
            assert!(std::panic::catch_unwind(call).is_err());
        }
        for_each(64, &|_| for_each(3, &|_| ()));
    }

    #[test]
    fn chunks_cover_the_data() {
        for (count, len) in [(0, 3), (1, 3), (9, 3), (10, 3), (1000, 7)] {
            let mut data = vec![usize::MAX; count];
            for_each_chunk(&mut data, len, |index, chunk| {
                chunk.iter_mut().enumerate().for_each(|(i, x)| *x = index * len + i);
            });
            assert!(data.iter().copied().eq(0..count));
        }
    }
}

/// Records the number of tasks of each call to [`for_each`], for tests.
#[cfg(feature = "testing")]
pub(crate) mod counts {
    use std::cell::RefCell;

    thread_local! {
        static COUNTS: RefCell<Option<Vec<usize>>> = const { RefCell::new(None) };
    }

    pub(super) fn record(count: usize) {
        COUNTS.with_borrow_mut(|counts| counts.iter_mut().for_each(|counts| counts.push(count)));
    }

    /// Returns the number of tasks of each call to [`for_each`](super::for_each) that `run` makes on this thread.
    pub(crate) fn during(run: impl FnOnce()) -> Vec<usize> {
        COUNTS.set(Some(vec![]));
        run();
        COUNTS.take().unwrap_or_default()
    }
}
