//! The memory that a reader uses.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Calls `run`. Returns its result, and the peak of the memory that it allocated, in bytes.
pub fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let outcome = run();
    (outcome, ALLOCATOR.peak_usage().saturating_sub(before))
}
