//! An allocator that puts buffers of numbers between pages without access.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// Addresses without memory behind them, from which every guarded buffer is cut; none is cut twice, so that a
/// buffer that is used after it was freed shows as well.
const ROOM: usize = 1 << 43;

/// What stands in the rest of a buffer's pages.
const PATTERN: u8 = 0xa5;

static START: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Guards what may be numbers; leaves all else to the system.
pub struct Guarded;

/// Whether an address lies in the guarded room.
pub fn is_guarded(address: usize) -> bool {
    address.wrapping_sub(START.load(Ordering::Acquire)) < ROOM
}

/// Numbers of two and four bytes; those of eight are aligned like any structure, so only where they are many.
fn may_be_numbers(layout: Layout) -> bool {
    match layout.align() {
        2 | 4 => true,
        8 | 16 | 32 | 64 => layout.size() >= 512,
        _ => false,
    }
}

/// The pages of a buffer, and its place in them.
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

    /// The bytes of the pages before and after the buffer.
    ///
    /// # Safety
    /// The pages are those of a living buffer at `address`.
    unsafe fn rest<'a>(self, address: usize, layout: Layout) -> [&'a mut [u8]; 2] {
        let end = address + layout.size();
        let [before, after] = [(self.pages, address), (end, self.pages + self.length)];
        // SAFETY: both lie in the slot's pages, and neither in the buffer.
        [before, after]
            .map(|(from, to)| unsafe { std::slice::from_raw_parts_mut(from as *mut u8, to - from) })
    }
}

// SAFETY: a guarded buffer is cut from fresh pages, big enough and aligned; all else is the system's.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_be_numbers(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        match cut(layout) {
            Some(buffer) => buffer.as_ptr(),
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        let address = buffer as usize;
        if !is_guarded(address) {
            // SAFETY: the system gave it.
            return unsafe { System.dealloc(buffer, layout) };
        }
        let slot = Slot::around(address, layout);
        // SAFETY: the buffer is alive until the end of this function.
        let rest = unsafe { slot.rest(address, layout) };
        if rest.iter().any(|bytes| bytes.iter().any(|byte| *byte != PATTERN)) {
            std::process::abort(); // A panic would allocate.
        }
        // SAFETY: the slot's pages, in which nobody has anything any more.
        unsafe {
            libc::madvise(slot.pages as *mut _, slot.length, libc::MADV_DONTNEED);
            libc::mprotect(slot.pages as *mut _, slot.length, libc::PROT_NONE);
        }
    }
}

/// A buffer in pages of its own, with a page without access on either side.
fn cut(layout: Layout) -> Option<NonNull<u8>> {
    let length = layout.size().next_multiple_of(PAGE);
    let offset = USED.fetch_add(length + PAGE, Ordering::Relaxed);
    if offset + length + PAGE > ROOM {
        return None;
    }
    let pages = room()? + PAGE + offset;
    // SAFETY: nobody else was given this part of the room.
    if unsafe { libc::mprotect(pages as *mut _, length, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return None;
    }
    let at_the_end = COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let lead = if at_the_end { (length - layout.size()) / layout.align() * layout.align() } else { 0 };
    let (slot, address) = (Slot { pages, length }, pages + lead);
    // SAFETY: the pages were just made accessible.
    unsafe { slot.rest(address, layout) }.into_iter().for_each(|bytes| bytes.fill(PATTERN));
    NonNull::new(address as *mut u8)
}

/// Where the room begins; reserved by the first who asks.
fn room() -> Option<usize> {
    let known = START.load(Ordering::Acquire);
    if known != 0 {
        return Some(known);
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: no address is asked for, so nothing is mapped over.
    let start = unsafe { libc::mmap(ptr::null_mut(), ROOM, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let known = START.compare_exchange(0, start as usize, Ordering::AcqRel, Ordering::Acquire);
    Some(known.err().unwrap_or(start as usize)) // A room reserved for nothing costs addresses alone.
}
