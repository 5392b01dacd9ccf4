//! Freed memory: the C library keeps it for later allocations, or returns it to the system.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lock::locked;

/// The environment variable that turns off [`keep_memory_in_training`] if it is `0`.
const VARIABLE: &str = "SCONCE_KEEP_MEMORY";

/// The origin of the decision about freed memory.
#[derive(Clone, Copy, PartialEq)]
enum Decision {
    /// No one has decided.
    Open,
    /// The program, or the environment variable.
    Program,
    /// The first backward pass: freed memory is kept.
    Training,
}

static DECISION: Mutex<Decision> = Mutex::new(Decision::Open);
/// Whether `DECISION` is no longer open.
static IS_DECIDED: AtomicBool = AtomicBool::new(false);

/// Sets whether the C library keeps freed memory for later allocations. Returns `true` on success.
///
/// A training step frees every tensor that it has created, and the next step allocates tensors of the same sizes. By
/// default, glibc returns much of the freed memory to the system. The system then has to find, clear and map pages
/// again, which takes up to a third of the time of a step, and more in small networks. Therefore, the first backward
/// pass of a process calls `keep_memory(true)`, unless the program has called this function before, or the environment
/// variable `SCONCE_KEEP_MEMORY` is `0`.
///
/// The setting affects the whole process. With `true`, the process holds the memory that its threads once needed, and
/// the gaps between tensors. [`release_memory`] returns free memory to the system. With `false`, glibc returns
/// allocations of 32 MiB and more as soon as they are freed, and this call returns the memory that is free now.
///
/// In threads other than the main thread, glibc never keeps the memory of tensors larger than 64 MiB. The function has
/// no effect without glibc, or in a program with another allocator (`#[global_allocator]`).
///
/// # Examples
/// ```
/// // In a program that trains rarely and should not hold the memory of its training steps:
/// sconce_kernels::keep_memory(false);
/// ```
pub fn keep_memory(keep: bool) -> bool {
    let mut decision = locked(&DECISION);
    *decision = Decision::Program;
    IS_DECIDED.store(true, Ordering::Relaxed);
    let succeeds = glibc::set_kept(keep);
    drop(decision);
    if !keep {
        release_memory();
    }
    succeeds
}

/// Keeps freed memory from now on, as [`keep_memory`] describes. The operations of this crate call this function in
/// each backward pass.
pub(crate) fn keep_memory_in_training() {
    if IS_DECIDED.load(Ordering::Relaxed) {
        return;
    }
    let mut decision = locked(&DECISION);
    if *decision == Decision::Open {
        let is_off = std::env::var_os(VARIABLE).is_some_and(|value| value == "0");
        *decision = if is_off { Decision::Program } else { Decision::Training };
        if !is_off {
            glibc::set_kept(true);
        }
    }
    IS_DECIDED.store(true, Ordering::Relaxed);
}

/// Returns the memory that is free now to the system, once. The setting of [`keep_memory`] does not change. glibc
/// cannot return the last part, of up to 64 MiB, of the memory that a thread other than the main thread has allocated.
///
/// # Examples
/// ```
/// // … train a network …
/// sconce_kernels::release_memory();
/// ```
pub fn release_memory() {
    glibc::release();
}

/// Returns the memory of training steps to the system, unless the program has decided what happens to freed memory.
pub fn release_memory_of_training() {
    if *locked(&DECISION) == Decision::Training {
        release_memory();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
        fn malloc_trim(pad: usize) -> c_int;
    }

    // The parameters from <malloc.h>.
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_TOP_PAD: c_int = -2;
    const M_MMAP_THRESHOLD: c_int = -3;
    const M_MMAP_MAX: c_int = -4;

    /// No separate mappings for large allocations, and a heap that does not shrink and grows in large steps.
    const KEPT: [(c_int, c_int); 3] = [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)];

    /// glibc adapts its thresholds to the sizes of freed allocations, until a program sets one of them. These are the
    /// values that it reaches in a program with large tensors.
    const NOT_KEPT: [(c_int, c_int); 4] = [
        (M_MMAP_MAX, 65536),
        (M_MMAP_THRESHOLD, 32 << 20),
        (M_TRIM_THRESHOLD, 64 << 20),
        (M_TOP_PAD, 128 << 10),
    ];

    pub fn set_kept(keep: bool) -> bool {
        let settings: &[(c_int, c_int)] = if keep { &KEPT } else { &NOT_KEPT };
        // SAFETY: `mallopt` validates its two integers and stores them under the allocator's lock.
        let results = settings.iter().map(|&(parameter, value)| unsafe { mallopt(parameter, value) });
        // Applies all settings, even if one fails.
        results.filter(|result| *result != 1).count() == 0
    }

    pub fn release() {
        // SAFETY: `malloc_trim` takes the allocator's locks and releases only memory that is free.
        unsafe { malloc_trim(0) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod glibc {
    pub fn set_kept(_: bool) -> bool {
        false
    }

    pub fn release() {}
}
