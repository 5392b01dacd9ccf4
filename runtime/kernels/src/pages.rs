//! Large pages under what kernels walk through.

use std::mem::MaybeUninit;

/// Asks for large pages under all of `room` that whole ones fit into, before anybody writes to it.
///
/// A kernel that takes a pixel of every block of channels, and then their weights, is on more small pages than a
/// core knows the places of. Linux by default gives large ones to those alone who ask. Nobody has to grant them.
pub(crate) fn ask_for_large<T>(room: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_int, c_void};
        unsafe extern "C" {
            fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        // As <sys/mman.h> has it, and the size of such a page on most machines: elsewhere at worst none fits.
        const MADV_HUGEPAGE: c_int = 14;
        const PAGE: usize = 2 << 20;
        let start = room.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE);
        let bytes = size_of_val(room).saturating_sub(skipped) / PAGE * PAGE;
        if bytes > 0 {
            // SAFETY: advice on the size of pages, whose content it leaves as it is; all of them lie in `room`.
            unsafe { madvise(start.wrapping_add(skipped).cast(), bytes, MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}
