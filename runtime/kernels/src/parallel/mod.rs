//! Sharing work among the threads of rayon's pool.

pub(crate) mod cost;
mod waiting;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Calls `run` with every index below `count`, on this thread and on as many of the pool as help.
///
/// The calling thread begins at once, where a parallel iterator would hand everything to the pool and
/// sleep: waking a thread takes longer than a small layer. Each thread has a share of neighbouring indices, so
/// that it finds in its own cache what the same share of the call before has written; it takes the next index
/// when it has done its last, at the end out of the others' shares. So `run` must not care who calls it, or in
/// which order. Nobody waits for a helper that comes when all is done, and the wait for those at work is an active
/// one: it is as short as an index.
pub(crate) fn for_each(count: usize, run: &(dyn Fn(usize) + Sync)) {
    #[cfg(test)]
    counts::record(count);
    let helpers = rayon::current_num_threads().min(count).saturating_sub(1);
    if helpers == 0 {
        return (0..count).for_each(run);
    }
    let run: *const (dyn Fn(usize) + Sync + '_) = run;
    // SAFETY: the same pointer; `Job` says until when it is followed.
    let run = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Run>(run) };
    let done = (0..=helpers).map(|_| Taken::default()).collect();
    let job = Job { run, count, done, inside: AtomicUsize::new(0), panic: Mutex::default() };
    let job = Arc::new(job);
    for _ in waiting::offer(&job, helpers)..helpers {
        let job = job.clone();
        rayon::spawn(move || {
            job.help();
            waiting::help_on();
        });
    }
    let closing = Closing(&job);
    // SAFETY: `run` lives until this function returns.
    unsafe { job.work(0) };
    drop(closing);
    let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

type Run = *const (dyn Fn(usize) + Sync + 'static);

/// What a call of [`for_each`] shares with its helpers, who may come when it has long returned.
struct Job {
    /// Followed only by the caller and by helpers that came in before it closed the job; it waits for them.
    run: Run,
    count: usize,
    /// Of every thread's share, the indices that somebody has taken.
    done: Box<[Taken]>,
    /// The helpers at work, and [`CLOSED`].
    inside: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A count on a cache line of its own, which stays with the thread whose share it is.
#[derive(Default)]
#[repr(align(64))]
struct Taken(AtomicUsize);

/// The bit of [`Job::inside`] that keeps later helpers out.
const CLOSED: usize = 1 << (usize::BITS - 1);

// SAFETY: `run` may be called by any thread, as its type says.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Takes indices, first those of a share of one's own.
    ///
    /// # Safety
    /// `run` is alive.
    unsafe fn work(&self, own: usize) {
        let shares = self.done.len();
        for share in (own..shares).chain(0..own) {
            let [start, end] = [share, share + 1].map(|share| share * self.count / shares);
            loop {
                let index = start + self.done[share].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                // SAFETY: the caller's promise.
                unsafe { (*self.run)(index) };
            }
        }
    }

    /// The share that a helper starts with: mostly another one for each, and the same from call to call.
    fn share(&self) -> usize {
        1 + rayon::current_thread_index().unwrap_or(0) % (self.done.len() - 1)
    }

    fn help(&self) {
        if self.inside.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
            // SAFETY: the caller of `for_each`, and with it `run`, waits from now on.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| unsafe { self.work(self.share()) })) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        self.inside.fetch_sub(1, Ordering::Release);
    }
}

/// Closes a job and waits for its helpers, also where the caller panics.
struct Closing<'a>(&'a Job);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut turns = 0;
        self.0.inside.fetch_or(CLOSED, Ordering::Relaxed);
        while self.0.inside.load(Ordering::Acquire) != CLOSED {
            turns += 1;
            if turns < ACTIVE_TURNS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// Looks at the helpers before the waiting thread offers its core to others: some 20 microseconds.
const ACTIVE_TURNS: usize = 1000;

/// Calls `run` with every run of `len` elements of `data` and its number; the last one may be shorter.
pub(crate) fn for_each_chunk<T: Send>(data: &mut [T], len: usize, run: impl Fn(usize, &mut [T]) + Sync) {
    let (start, total) = (Start::of(data), data.len());
    for_each(total.div_ceil(len.max(1)), &|index| {
        let from = index * len;
        // SAFETY: `from < total`, and no two indices share an element; `data` is borrowed until all are done.
        run(index, unsafe { std::slice::from_raw_parts_mut(start.at(from), len.min(total - from)) });
    });
}

/// Calls `run` with every row of `row` elements of `data` and its index. A task takes as many rows as have
/// `least` elements.
pub(crate) fn for_each_row<T: Send>(
    row: usize,
    least: usize,
    data: &mut [T],
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    if row == 0 {
        return;
    }
    let rows = least.div_ceil(row);
    for_each_chunk(data, rows * row, |task, data| {
        data.chunks_exact_mut(row).enumerate().for_each(|(i, row)| run(task * rows + i, row));
    });
}

/// Where the data of several threads begins.
pub(crate) struct Start<T>(*mut T);

impl<T> Start<T> {
    pub(crate) fn of(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr())
    }

    pub(crate) fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: each thread reads and writes elements of its own, which may be sent to it.
unsafe impl<T: Send> Sync for Start<T> {}

#[cfg(test)]
mod tests {
    use super::{for_each, for_each_chunk};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_index_once() {
        for count in [0, 1, 2, 7, 1000] {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each(count, &|index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
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

/// How many tasks each call of [`for_each`] gets, for tests.
#[cfg(test)]
pub(crate) mod counts {
    use std::cell::RefCell;

    thread_local! {
        static COUNTS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(count: usize) {
        COUNTS.with_borrow_mut(|counts| counts.push(count));
    }

    /// Returns the counts of the calls that `run` makes on this thread.
    pub(crate) fn during(run: impl FnOnce()) -> Vec<usize> {
        COUNTS.take();
        run();
        COUNTS.take()
    }
}
