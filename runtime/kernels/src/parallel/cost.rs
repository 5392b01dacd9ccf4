//! The cost rule of parallel execution: how much work a task has at least.
//!
//! A task is worth its hand-over to another thread from about 10 µs on: waking a helper takes one or two, and at the end
//! of an operation the other threads wait for half a task on average. Each constant is that time in the unit that a
//! kernel counts. An operation with no more work than one task runs on the calling thread.
//!
//! The constants also decide how sums are cut into parts, so they do not depend on the machine.

/// Elements of a pass that loads, computes and stores each element once.
pub(crate) const PASS: usize = 1 << 14;

/// Elements of a vectorized pass that stores nothing, or of packing a weight.
pub(crate) const SCAN: usize = 4 * PASS;

/// Elements of two passes over the same rows, or of a copy with strides.
pub(crate) const TWO_PASSES: usize = PASS / 2;

/// Elements of a pass with an exponential each.
pub(crate) const EXPONENTIALS: usize = PASS / 4;

/// Multiply-adds of operands that are in registers or near caches.
pub(crate) const MULTIPLY_ADDS: usize = 1 << 18;

/// Multiply-adds of a job of a convolution, several of whose tasks it groups.
pub(crate) const JOB_MULTIPLY_ADDS: usize = 4 * MULTIPLY_ADDS;

/// Multiply-adds of one operand that is read from memory once.
pub(crate) const STREAMED_MULTIPLY_ADDS: usize = MULTIPLY_ADDS / 2;

/// Multiply-adds of a task that also packs an operand.
pub(crate) const PACKED_MULTIPLY_ADDS: usize = 2 * MULTIPLY_ADDS;

/// Multiply-adds of an operation on tasks that are allocated and split in advance, below which it runs on the calling
/// thread.
pub(crate) const SPLIT_MULTIPLY_ADDS: usize = 8 * MULTIPLY_ADDS;

/// Multiply-adds that are not vectorized.
pub(crate) const SCALAR_MULTIPLY_ADDS: usize = MULTIPLY_ADDS / 4;

/// The number of tasks for `work`, of which a task has `least`: the same for every thread if possible, four a thread at
/// most.
pub(crate) fn task_count(work: usize, least: usize) -> usize {
    let threads = rayon::current_num_threads();
    match work / least {
        0 | 1 => 1,
        most => most.next_multiple_of(threads).min(4 * threads),
    }
}

/// The threads that `multiply_adds` are worth, of `threads`.
pub(crate) fn worthwhile_threads(threads: usize, multiply_adds: usize) -> usize {
    if multiply_adds < MULTIPLY_ADDS { 1 } else { threads }
}
