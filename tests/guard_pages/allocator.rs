//! An allocator that places buffers of numbers between inaccessible pages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// The size of the reserved address range, from which guarded buffers are allocated. No address is used twice,
/// so that use after free is also detected.
const RESERVED: usize = 1 << 43;

/// The content of the unused bytes in a buffer's pages.
const PATTERN: u8 = 0xa5;

static START: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Guards allocations that may be buffers of numbers, and leaves the others to the system's allocator.
pub struct Guarded;

/// Returns whether an address lies in the guarded range.
pub fn is_guarded(address: usize) -> bool {
    address.wrapping_sub(START.load(Ordering::Acquire)) < RESERVED
}

/// Returns whether an allocation may be a buffer of numbers: one with an alignment of two or four bytes, or a
/// large one with a larger alignment. Small allocations with larger alignments are often structs.
fn may_be_numbers(layout: Layout) -> bool {
    match layout.align() {
        2 | 4 => true,
        8 | 16 | 32 | 64 => layout.size() >= 512,
        _ => false,
    }
}

/// The pages of a buffer.
#[derive(Clone, Copy)]
struct Slot {
    pages: usize,
    length: usize,
}

impl Slot {
    fn around(address: usize, layout: Layout) -> Self {
        let pages = address / PAGE * PAGE;
        Self { pages, length: (address + layout.size()).next_multiple_of(PAGE) - pages }
    }

    /// Returns the bytes of the slot's pages that lie before the buffer, and those that lie after it.
    ///
    /// # Safety
    /// `address` and `layout` must be those of a live guarded buffer.
    unsafe fn rest<'a>(self, address: usize, layout: Layout) -> [&'a mut [u8]; 2] {
        let end = address + layout.size();
        let [before, after] = [(self.pages, address), (end, self.pages + self.length)];
        // SAFETY: both ranges lie outside the buffer but in the slot's pages, which are accessible while the
        // buffer lives.
        [before, after]
            .map(|(start, end)| unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) })
    }
}

// SAFETY: a guarded buffer lies in fresh pages of sufficient size, aligned as the layout requires. All other
// buffers come from the system's allocator.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_be_numbers(layout) {
            // SAFETY: the caller upholds the contract of `alloc`.
            return unsafe { System.alloc(layout) };
        }
        match allocate(layout) {
            Some(buffer) => buffer.as_ptr(),
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        let address = buffer as usize;
        if !is_guarded(address) {
            // SAFETY: the buffer was allocated by the system.
            return unsafe { System.dealloc(buffer, layout) };
        }
        let slot = Slot::around(address, layout);
        // SAFETY: the buffer is live until the end of this function.
        let rest = unsafe { slot.rest(address, layout) };
        if rest.iter().any(|bytes| bytes.iter().any(|byte| *byte != PATTERN)) {
            std::process::abort(); // A panic would allocate.
        }
        // SAFETY: the slot's pages hold only this buffer, which is being freed.
        unsafe {
            libc::madvise(slot.pages as *mut _, slot.length, libc::MADV_DONTNEED);
            libc::mprotect(slot.pages as *mut _, slot.length, libc::PROT_NONE);
        }
    }
}

/// Returns a buffer in its own pages, between two inaccessible pages.
fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    let length = layout.size().next_multiple_of(PAGE);
    let offset = USED.fetch_add(length + PAGE, Ordering::Relaxed);
    if offset + length + PAGE > RESERVED {
        return None;
    }
    let pages = reserved()? + PAGE + offset;
    // SAFETY: the atomic counter gives this range of the reserved addresses to this call only.
    if unsafe { libc::mprotect(pages as *mut _, length, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return None;
    }
    let at_the_end = COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let lead = if at_the_end { (length - layout.size()) / layout.align() * layout.align() } else { 0 };
    let (slot, address) = (Slot { pages, length }, pages + lead);
    // SAFETY: `mprotect` above has made the pages accessible.
    unsafe { slot.rest(address, layout) }.into_iter().for_each(|bytes| bytes.fill(PATTERN));
    NonNull::new(address as *mut u8)
}

/// Returns the start of the reserved addresses. The first call reserves them.
fn reserved() -> Option<usize> {
    let known = START.load(Ordering::Acquire);
    if known != 0 {
        return Some(known);
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: no address is requested, so the mapping replaces no existing mapping.
    let start = unsafe { libc::mmap(ptr::null_mut(), RESERVED, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let known = START.compare_exchange(0, start as usize, Ordering::AcqRel, Ordering::Acquire);
    // If another thread has stored its mapping first, that mapping is used. This one only wastes addresses.
    Some(known.err().unwrap_or(start as usize))
}
