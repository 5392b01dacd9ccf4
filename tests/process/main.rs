//! Tests that need a process of their own: tests of state that the whole process shares (the arena of activations,
//! allocated memory, `set_exact`, the random seed), and tests with child processes, some of which are killed. The tests
//! that call [`exclusive`] run one at a time.

mod against_candle;
#[path = "../common/archive.rs"]
mod archive;
mod arena;
mod checkpoint_damage;
mod checkpoint_kill;
mod checkpoint_memory;
#[path = "../common/mod.rs"]
mod common;
mod exact;
mod fit;
mod progress;
mod recompute;
#[allow(dead_code)] // The tests use only one network of this file.
#[path = "../../examples/networks/resnet.rs"]
mod resnet;
mod resume;
mod seed;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Returns the result of `f`, and by how many bytes the peak memory use during `f` exceeds the memory in use before.
fn measured<T>(f: impl FnOnce() -> T) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = f();
    (result, MEMORY.peak_usage().saturating_sub(before))
}

/// Waits until no other test holds the guard, and returns it. The next test that calls this function continues after
/// the guard is dropped.
fn exclusive() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
