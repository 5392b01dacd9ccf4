//! The memory of the process: a check whether an allocation would succeed, and the allocator's treatment of freed
//! memory.

/// Up to this many elements, assume that allocation succeeds.
const MAX_UNCHECKED_ELEMENTS: usize = 1 << 28;

/// Returns `true` if a tensor of this shape can be allocated. Tries the allocation if the tensor is large, because a
/// failed allocation would abort the process.
pub fn can_allocate<T>(dims: &[usize]) -> bool {
    let elements = dims.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    elements.is_some_and(|elements| {
        let mut memory = Vec::<T>::new();
        let succeeds = elements <= MAX_UNCHECKED_ELEMENTS || memory.try_reserve_exact(elements).is_ok();
        // Keeps the compiler from removing the allocation.
        std::hint::black_box(&memory);
        succeeds
    })
}

/// Asks the C library to keep freed memory for later allocations. Returns `true` on success.
///
/// A training step frees every tensor that it has created, and the next step allocates tensors of the same sizes. By
/// default, glibc returns much of the freed memory to the system. The system then has to find, clear and map pages
/// again, which accounts for a tenth to a third of the time of a step. The call affects the whole process, which holds
/// its peak memory from then on.
///
/// The call has no effect without glibc, or in a program that sets a different allocator (`#[global_allocator]`).
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
        // The values from <malloc.h>. The settings disable separate mappings for large allocations, keep the heap from
        // shrinking, and let it grow in large steps.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_TOP_PAD: c_int = -2;
        const M_MMAP_MAX: c_int = -4;
        let settings = [(M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 26), (M_MMAP_MAX, 0)];
        // SAFETY: `mallopt` validates its two integers and stores them under the allocator's lock.
        settings.into_iter().all(|(parameter, value)| unsafe { mallopt(parameter, value) } == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
