//! Huge pages for memory that kernels read with large strides.

use std::mem::MaybeUninit;

/// Asks the system for huge pages in `memory`, before the first write to it.
///
/// A kernel that reads a pixel of every channel block, and then the weights of these blocks, visits more 4 KiB pages
/// than the TLB has entries. By default, Linux grants huge pages only on request. The call is a hint. It has no effect
/// on memory that does not contain a whole huge page, nor on systems other than Linux.
pub(crate) fn advise_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_int, c_void};
        unsafe extern "C" {
            fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        // The value from <sys/mman.h>, and the size of a huge page on most machines.
        const MADV_HUGEPAGE: c_int = 14;
        const PAGE: usize = 2 << 20;
        let start = memory.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE);
        let bytes = size_of_val(memory).saturating_sub(skipped) / PAGE * PAGE;
        if bytes > 0 {
            // SAFETY: the pages are inside `memory`, and the advice does not change their contents.
            unsafe { madvise(start.wrapping_add(skipped).cast(), bytes, MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
