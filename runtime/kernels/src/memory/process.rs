//! The memory of the process: whether an allocation would succeed, and what the allocator does with freed memory.

/// Up to this many elements, assume that allocation succeeds.
const ASSUMED: usize = 1 << 28;

/// Returns whether a tensor of this shape can be allocated. For large ones it tries, because a failed allocation would
/// abort the process.
pub fn can_allocate<T>(dims: &[usize]) -> bool {
    let elements = dims.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    elements.is_some_and(|elements| {
        let mut memory = Vec::<T>::new();
        let succeeds = elements <= ASSUMED || memory.try_reserve_exact(elements).is_ok();
        // Without this the compiler may remove the allocation.
        std::hint::black_box(&memory);
        succeeds
    })
}

/// Asks the C library to keep freed memory for later allocations. Returns whether it will.
///
/// A training step frees every tensor it has made, and the next step allocates them again. By default glibc
/// returns much of that memory to the system in between, and the system has to find, clear and map it again
/// page by page: a tenth to a third of a step. The call affects the whole process, which from then on holds
/// its peak memory. It has an effect with glibc alone, and none on a program with its own allocator
/// (`#[global_allocator]`).
///
/// ```
/// sconce_kernels::keep_memory();
/// // … build a network, and train it.
/// ```
pub fn keep_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // The values of <malloc.h>. No allocation gets a mapping of its own, and the heap never shrinks and
        // grows in large steps.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_TOP_PAD: c_int = -2;
        const M_MMAP_MAX: c_int = -4;
        let settings = [(M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 26), (M_MMAP_MAX, 0)];
        // SAFETY: `mallopt` takes numbers, checks them and stores them under the allocator's lock.
        settings.into_iter().all(|(parameter, value)| unsafe { mallopt(parameter, value) } == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
