//! An allocator that places buffers of numbers between inaccessible pages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// The size of the reserved address range, in bytes. Guarded buffers are allocated from this range.
const RESERVED: usize = 1 << 43;

/// The value of unused bytes: those around a buffer, and all bytes of freed pages. A float with these bytes is NaN.
const PATTERN: u8 = 0xff;

/// The pages of a freed buffer are reused if there are at most this many. Without the reuse, the tests would spend most
/// of their time in the system calls that change the protection of pages. The pages of larger freed buffers become
/// inaccessible.
const REUSED_PAGES: usize = 16;

/// The number of freed buffers of each size that wait in quarantine and are not reused yet. Accesses after free are
/// therefore likely to be detected: a write changes the pattern, which is checked before the reuse, and a read returns
/// NaN.
const QUARANTINED: usize = 64;

/// The start of the reserved address range, or 0 if none is reserved yet.
static START: AtomicUsize = AtomicUsize::new(0);
/// The number of bytes allocated so far from the reserved range, including the inaccessible pages.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The number of guarded buffers allocated so far.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// The freed pages of each size up to [`REUSED_PAGES`].
static FREED: [Mutex<Queue>; REUSED_PAGES] = [const { Mutex::new(Queue::EMPTY) }; REUSED_PAGES];

/// Guards allocations that may be buffers of numbers. All other allocations use the system's allocator.
pub struct Guarded;

/// Returns `true` if an address lies in the guarded range.
pub fn is_guarded(address: usize) -> bool {
    address.wrapping_sub(START.load(Ordering::Acquire)) < RESERVED
}

/// Returns `true` if an allocation may be a buffer of numbers: either its alignment is two or four bytes, or its
/// alignment is larger and its size is at least 512 bytes. Smaller allocations with larger alignments are often
/// structs.
fn may_be_numbers(layout: Layout) -> bool {
    match layout.align() {
        2 | 4 => true,
        8 | 16 | 32 | 64 => layout.size() >= 512,
        _ => false,
    }
}

/// The addresses of freed pages, in the order in which the pages were freed.
struct Queue {
    addresses: [usize; Self::CAPACITY],
    first: usize,
    len: usize,
}

impl Queue {
    const CAPACITY: usize = 4096;
    const EMPTY: Self = Self { addresses: [0; Self::CAPACITY], first: 0, len: 0 };

    /// Appends an address. Returns `false` if the queue is full.
    fn push(&mut self, address: usize) -> bool {
        if self.len == Self::CAPACITY {
            return false;
        }
        self.addresses[(self.first + self.len) % Self::CAPACITY] = address;
        self.len += 1;
        true
    }

    /// Removes the address that has waited longest. Returns `None` if the queue has at most [`QUARANTINED`] addresses.
    fn pop(&mut self) -> Option<usize> {
        if self.len <= QUARANTINED {
            return None;
        }
        let address = self.addresses[self.first];
        self.first = (self.first + 1) % Self::CAPACITY;
        self.len -= 1;
        Some(address)
    }
}

/// The pages of a buffer: their first address, and their size in bytes.
#[derive(Clone, Copy)]
struct Pages {
    start: usize,
    length: usize,
}

impl Pages {
    fn of_buffer(address: usize, layout: Layout) -> Self {
        let start = address / PAGE * PAGE;
        Self { start, length: (address + layout.size()).next_multiple_of(PAGE) - start }
    }

    /// Returns the queue of freed pages of this size, or `None` if pages of this size are not reused.
    fn queue(self) -> Option<&'static Mutex<Queue>> {
        FREED.get((self.length / PAGE).checked_sub(1)?)
    }

    /// Returns all bytes of the pages.
    ///
    /// # Safety
    /// The pages must be accessible and hold no live buffer.
    unsafe fn bytes<'a>(self) -> &'a mut [u8] {
        // SAFETY: the caller guarantees that the pages are accessible and unused.
        unsafe { std::slice::from_raw_parts_mut(self.start as *mut u8, self.length) }
    }

    /// Returns the bytes of the pages that lie before the buffer, and the bytes that lie after it.
    ///
    /// # Safety
    /// `address` and `layout` must be those of a live guarded buffer.
    unsafe fn padding<'a>(self, address: usize, layout: Layout) -> [&'a mut [u8]; 2] {
        let end = address + layout.size();
        let [before, after] = [(self.start, address), (end, self.start + self.length)];
        // SAFETY: both ranges lie outside the buffer but in its pages, which are accessible while the buffer lives.
        [before, after]
            .map(|(start, end)| unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) })
    }
}

/// Ends the process unless all bytes equal the pattern.
fn check_pattern(bytes: &[u8]) {
    const EXPECTED: [u8; PAGE] = [PATTERN; PAGE];
    if bytes.chunks(PAGE).any(|part| *part != EXPECTED[..part.len()]) {
        std::process::abort(); // A panic would allocate.
    }
}

// SAFETY: each guarded buffer has its own pages, which are large enough, and its address is aligned as the layout
// requires. All other buffers come from the system's allocator.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_be_numbers(layout) || !is_enabled() {
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
        let pages = Pages::of_buffer(address, layout);
        // SAFETY: the buffer is live until the end of this function.
        unsafe { pages.padding(address, layout) }.iter().for_each(|bytes| check_pattern(bytes));
        if let Some(queue) = pages.queue() {
            // SAFETY: the pages hold only this buffer, which is being freed.
            unsafe { pages.bytes() }.fill(PATTERN);
            if queue.lock().is_ok_and(|mut queue| queue.push(pages.start)) {
                return;
            }
        }
        // SAFETY: the pages hold only this buffer, which is being freed.
        unsafe {
            libc::madvise(pages.start as *mut _, pages.length, libc::MADV_DONTNEED);
            libc::mprotect(pages.start as *mut _, pages.length, libc::PROT_NONE);
        }
    }
}

/// Returns `true` if buffers are guarded, and `false` if the environment variable `SCONCE_GUARD_PAGES` is `off`.
fn is_enabled() -> bool {
    const UNKNOWN: usize = 0;
    const ON: usize = 1;
    const OFF: usize = 2;
    static STATE: AtomicUsize = AtomicUsize::new(UNKNOWN);
    let mut state = STATE.load(Ordering::Relaxed);
    if state == UNKNOWN {
        // SAFETY: the name is a C string, and so is the value if it is not null. No test changes the environment.
        let is_off = unsafe {
            let value = libc::getenv(c"SCONCE_GUARD_PAGES".as_ptr());
            !value.is_null() && CStr::from_ptr(value) == c"off"
        };
        state = if is_off { OFF } else { ON };
        STATE.store(state, Ordering::Relaxed);
    }
    state == ON
}

/// Returns a buffer in its own pages, between two inaccessible pages.
fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    let pages = allocate_pages(layout.size().next_multiple_of(PAGE))?;
    let at_the_end = ALLOCATIONS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let offset =
        if at_the_end { (pages.length - layout.size()) / layout.align() * layout.align() } else { 0 };
    let address = pages.start + offset;
    // SAFETY: the pages are accessible and belong to this call only.
    unsafe { pages.padding(address, layout) }.into_iter().for_each(|bytes| bytes.fill(PATTERN));
    NonNull::new(address as *mut u8)
}

/// Returns accessible pages between two inaccessible pages. Reuses the pages of this size that were freed first, if
/// more than [`QUARANTINED`] buffers of this size are free, and otherwise allocates new pages. `length` is in bytes.
fn allocate_pages(length: usize) -> Option<Pages> {
    let pop_freed = || Pages { start: 0, length }.queue()?.lock().ok()?.pop();
    if let Some(start) = pop_freed() {
        let pages = Pages { start, length };
        // SAFETY: the pages come from the queue, so they are accessible and hold no buffer.
        check_pattern(unsafe { pages.bytes() });
        return Some(pages);
    }
    let offset = USED.fetch_add(length + PAGE, Ordering::Relaxed);
    if offset + length + PAGE > RESERVED {
        return None;
    }
    let start = reserved()? + PAGE + offset;
    // SAFETY: the atomic counter gives this range of the reserved addresses to this call only.
    let result = unsafe { libc::mprotect(start as *mut _, length, libc::PROT_READ | libc::PROT_WRITE) };
    (result == 0).then_some(Pages { start, length })
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
