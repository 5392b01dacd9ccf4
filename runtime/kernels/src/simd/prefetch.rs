//! Prefetching of memory before its use.

/// Prefetches a cache line into the cache of this `LEVEL`, 1 or 2. The address need not be valid.
#[inline(always)]
pub(crate) fn prefetch<const LEVEL: usize>(_line: *const f32) {
    const { assert!(LEVEL == 1 || LEVEL == 2) };
    // SAFETY: a prefetch reads nothing and cannot fault; SSE is part of x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        match LEVEL {
            1 => _mm_prefetch::<_MM_HINT_T0>(_line.cast()),
            _ => _mm_prefetch::<_MM_HINT_T1>(_line.cast()),
        }
    }
}
