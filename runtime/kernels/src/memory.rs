//! What becomes of freed memory, and whether there is enough.

/// Elements that memory is taken to be there for.
const MUCH: usize = 1 << 28;

/// Whether there is memory for a tensor of this shape, which the system is asked where that is large: an allocation
/// that fails would end the program.
pub fn has_room<T>(dims: &[usize]) -> bool {
    let elements = dims.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    elements.is_some_and(|elements| {
        let mut room = Vec::<T>::new();
        let there = elements <= MUCH || room.try_reserve_exact(elements).is_ok();
        // The compiler may leave out what nobody looks at.
        std::hint::black_box(&room);
        there
    })
}

/// Asks the C library to keep what the program frees for what it allocates next, and says whether it will.
///
/// A step of training frees every tensor it has made, and the next one makes them again. By default glibc
/// gives much of that memory back to the system in between, which then has to find it, clear it and map it
/// page by page: a tenth to a third of a step. This call is for the whole process, which from then on holds
/// on to as much memory as it ever used at once. It does something with glibc alone; elsewhere, and where the
/// program has an allocator of its own (`#[global_allocator]`), that one decides.
///
/// ```
/// sconce_kernels::memory::keep_memory();
/// // … build a network, and train it.
/// ```
pub fn keep_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // As <malloc.h> has them. No allocation gets a mapping of its own, and the heap never shrinks; it
        // grows in large steps.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_TOP_PAD: c_int = -2;
        const M_MMAP_MAX: c_int = -4;
        let settings = [(M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 26), (M_MMAP_MAX, 0)];
        // SAFETY: numbers alone, which glibc checks and stores under its allocator's lock.
        settings.into_iter().all(|(parameter, value)| unsafe { mallopt(parameter, value) } == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
