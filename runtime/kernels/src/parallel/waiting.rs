//! Helpers that have done a job and wait a while for the next one.
//!
//! Between two layers of a network lie a few microseconds. A thread of rayon's pool that looks for work meanwhile
//! makes a system call at each look, and soon sleeps: to wake it costs its caller more than a microsecond, and
//! it comes when a small layer is done. So a helper looks at one place in memory, for as long as a layer
//! that is computed on one thread may take.

use super::Job;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Looks between two offers of the core to whoever else wants it, and how many of those: some 2 and 60 microseconds.
const LOOKS: usize = 32;
const OFFERS: usize = 32;

/// No more jobs than there are helpers that wait: each of them takes one before it goes.
static BOARD: Mutex<Board> = Mutex::new(Board { jobs: Vec::new(), waiting: 0 });
/// The jobs on the board, to look at without its lock.
static OPEN: AtomicUsize = AtomicUsize::new(0);

struct Board {
    jobs: Vec<Arc<Job>>,
    waiting: usize,
}

thread_local! {
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Offers a job to as many helpers as it wants, of those that wait. How many that were.
pub(super) fn offer(job: &Arc<Job>, wanted: usize) -> usize {
    let mut board = board();
    let count = wanted.min(board.waiting - board.jobs.len());
    board.jobs.extend(std::iter::repeat_n(job, count).cloned());
    OPEN.store(board.jobs.len(), Ordering::Relaxed);
    count
}

/// Waits on a thread of the pool for jobs, and helps with them, until none has come for a while.
pub(super) fn help_on() {
    // While it waits, a thread takes up what others have for the pool: that is one of them.
    if WAITS.replace(true) {
        return;
    }
    enter();
    while let Some(job) = next() {
        job.help();
        enter();
    }
    WAITS.set(false);
}

fn enter() {
    board().waiting += 1;
}

/// The next job of a helper that has entered; none where it has waited for long enough. It waits no more then.
fn next() -> Option<Arc<Job>> {
    for _ in 0..OFFERS {
        for _ in 0..LOOKS {
            if OPEN.load(Ordering::Relaxed) > 0
                && let Some(job) = leave(&mut board(), false)
            {
                return Some(job);
            }
            std::hint::spin_loop();
        }
        rayon::yield_now();
        std::thread::yield_now();
    }
    leave(&mut board(), true)
}

/// Takes a job and leaves; without one only where it is to leave `anyway`.
fn leave(board: &mut Board, anyway: bool) -> Option<Arc<Job>> {
    let job = board.jobs.pop();
    OPEN.store(board.jobs.len(), Ordering::Relaxed);
    board.waiting -= usize::from(anyway || job.is_some());
    job
}

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}
