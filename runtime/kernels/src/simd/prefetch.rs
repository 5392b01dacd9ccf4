//! Asking for memory ahead of its use.

/// Asks for a cache line to be brought as near as the cache of this `LEVEL`, the first or the second. Any address will
/// do.
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
