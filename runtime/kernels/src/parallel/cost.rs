//! The minimum work of a task in parallel execution.
//!
//! Running a task on another thread pays off if the task takes at least about 10 µs: waking a helper takes 1 to 2 µs,
//! and at the end of an operation the other threads wait for half a task on average. Each constant is the work of a
//! task that takes this long, as a number of elements or of multiply-adds. An operation with at most the work of one
//! task runs on the calling thread.
//!
//! The constants also determine how sums are split into partial sums, so they do not depend on the machine.

/// Elements that are loaded, computed and stored once.
pub(crate) const MIN_ELEMENTS: usize = 1 << 14;

/// Elements that a vectorized loop only reads, or that are packed as a weight.
pub(crate) const MIN_READ_ELEMENTS: usize = 4 * MIN_ELEMENTS;

/// Elements that are read more than once, or copied with strides.
pub(crate) const MIN_REREAD_ELEMENTS: usize = MIN_ELEMENTS / 2;

/// Elements that are each computed with a function of the math library.
pub(crate) const MIN_LIBRARY_CALL_ELEMENTS: usize = MIN_ELEMENTS / 4;

/// Multiply-adds of operands that are in registers or in a core's caches.
pub(crate) const MIN_MULTIPLY_ADDS: usize = 1 << 18;

/// Multiply-adds of a task group: tasks of a convolution that one thread runs one after another.
pub(crate) const MIN_TASK_GROUP_MULTIPLY_ADDS: usize = 4 * MIN_MULTIPLY_ADDS;

/// Multiply-adds with an operand that is read from memory once.
pub(crate) const MIN_STREAMED_MULTIPLY_ADDS: usize = MIN_MULTIPLY_ADDS / 2;

/// Multiply-adds of a task that also packs an operand.
pub(crate) const MIN_PACKED_MULTIPLY_ADDS: usize = 2 * MIN_MULTIPLY_ADDS;

/// Multiply-adds of a whole operation that allocates a list of its tasks before it runs. Such an operation runs on the
/// calling thread if it has fewer multiply-adds.
pub(crate) const MIN_SPLIT_MULTIPLY_ADDS: usize = 8 * MIN_MULTIPLY_ADDS;

/// Multiply-adds that are not vectorized.
pub(crate) const MIN_SCALAR_MULTIPLY_ADDS: usize = MIN_MULTIPLY_ADDS / 4;

/// Returns the number of tasks for `work` units of work: 1 if there is not enough work for two tasks of `minimum`
/// units; otherwise `work / minimum`, rounded up to a multiple of the number of threads, but at most four for
/// each thread. After rounding up, a task may have less than `minimum` units.
pub(crate) fn task_count(work: usize, minimum: usize) -> usize {
    let threads = rayon::current_num_threads();
    match work / minimum {
        0 | 1 => 1,
        max_tasks => max_tasks.next_multiple_of(threads).min(4 * threads),
    }
}

/// Returns `threads`, or 1 if a second thread would not pay off for so few multiply-adds.
pub(crate) fn worthwhile_threads(threads: usize, multiply_adds: usize) -> usize {
    if multiply_adds < MIN_MULTIPLY_ADDS { 1 } else { threads }
}
