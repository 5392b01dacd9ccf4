//! Tests that need a process of their own: tests of state that the whole process shares (the arena of activations,
//! allocated memory, `set_exact`, the random seed), and tests with child processes, some of which are killed. A test of
//! shared state begins with a call of [`passed_in_own_process`]. The processes of several tests run at the same time.

mod against_candle;
#[path = "../common/archive.rs"]
mod archive;
mod arena;
mod checkpoint_damage;
mod checkpoint_kill;
mod checkpoint_memory;
#[path = "../common/mod.rs"]
mod common;
mod distributed;
mod exact;
mod fit;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod freed_memory;
mod progress;
mod recompute;
#[allow(dead_code)] // The tests use only one network of this file.
#[path = "../../examples/networks/resnet.rs"]
mod resnet;
mod resume;
mod seed;

use peak_alloc::PeakAlloc;

use crate::common::process::{assert_passes, command_with_path};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Returns the result of `f`, and by how many bytes the peak memory use during `f` exceeds the memory in use before.
fn measured<T>(f: impl FnOnce() -> T) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = f();
    (result, MEMORY.peak_usage().saturating_sub(before))
}

/// Runs the calling test in a process of its own, which runs no other test. Panics with the output of that process if
/// the test fails there. Returns `true` if the test passed, so that the caller returns. In the new process, returns
/// `false`, so that the caller does its work.
fn passed_in_own_process() -> bool {
    const IS_OWN_PROCESS: &str = "SCONCE_TEST_OWN_PROCESS";
    let thread = std::thread::current();
    // The threads of tests have the names of the tests. With `--test-threads=1`, the tests run one after the other on
    // the main thread, so no other test runs at the same time.
    let name = thread.name().expect("the thread of a test should have a name");
    if name == "main" || std::env::var_os(IS_OWN_PROCESS).is_some() {
        return false;
    }
    assert_passes(command_with_path(name).env(IS_OWN_PROCESS, "1"));
    true
}
