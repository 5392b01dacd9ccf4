//! An allocator that places buffers of numbers between inaccessible pages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PAGE: usize = 4096;

/// The size of the reserved address range, from which guarded buffers are allocated.
const RESERVED: usize = 1 << 43;

/// The content of unused bytes: those around a buffer, and all bytes of freed pages. As floats, they are NaN.
const PATTERN: u8 = 0xff;

/// Freed buffers of up to this number of pages are used again, because the system calls that change the access to pages
/// would take most of the time of the tests. The pages of larger buffers become inaccessible.
const REUSED_PAGES: usize = 16;

/// The number of freed buffers of each size that wait until they are used again, so that accesses after free are likely
/// to be detected: writes because the pattern is checked, and reads because they return NaN.
const WAITING: usize = 64;

static START: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static FREED: [Mutex<Queue>; REUSED_PAGES] = [const { Mutex::new(Queue::EMPTY) }; REUSED_PAGES];

/// Guards allocations that may be buffers of numbers, and leaves the others to the system's allocator.
pub struct Guarded;

/// Returns `true` if an address lies in the guarded range.
pub fn is_guarded(address: usize) -> bool {
    address.wrapping_sub(START.load(Ordering::Acquire)) < RESERVED
}

/// Returns `true` if an allocation may be a buffer of numbers: one with an alignment of two or four bytes, or a
/// large one with a larger alignment. Small allocations with larger alignments are often structs.
fn may_be_numbers(layout: Layout) -> bool {
    match layout.align() {
        2 | 4 => true,
        8 | 16 | 32 | 64 => layout.size() >= 512,
        _ => false,
    }
}

/// The addresses of freed pages, in the order in which they were freed.
struct Queue {
    pages: [usize; Self::CAPACITY],
    first: usize,
    len: usize,
}

impl Queue {
    const CAPACITY: usize = 4096;
    const EMPTY: Self = Self { pages: [0; Self::CAPACITY], first: 0, len: 0 };

    /// Appends an address. Returns `false` if the queue is full.
    fn push(&mut self, pages: usize) -> bool {
        let has_room = self.len < Self::CAPACITY;
        if has_room {
            self.pages[(self.first + self.len) % Self::CAPACITY] = pages;
            self.len += 1;
        }
        has_room
    }

    /// Returns the address that has waited longest, or `None` if at most [`WAITING`] addresses are left.
    fn pop(&mut self) -> Option<usize> {
        if self.len <= WAITING {
            return None;
        }
        let pages = self.pages[self.first];
        self.first = (self.first + 1) % Self::CAPACITY;
        self.len -= 1;
        Some(pages)
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

    /// Returns the freed slots of this size, if they are used again.
    fn queue(self) -> Option<&'static Mutex<Queue>> {
        FREED.get((self.length / PAGE).checked_sub(1)?)
    }

    /// Returns all bytes of the slot's pages.
    ///
    /// # Safety
    /// The slot's pages must be accessible and hold no live buffer.
    unsafe fn bytes<'a>(self) -> &'a mut [u8] {
        // SAFETY: the caller guarantees that the pages are accessible and unused.
        unsafe { std::slice::from_raw_parts_mut(self.pages as *mut u8, self.length) }
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

/// Ends the process unless all bytes equal the pattern.
fn check(bytes: &[u8]) {
    const EXPECTED: [u8; PAGE] = [PATTERN; PAGE];
    if bytes.chunks(PAGE).any(|part| *part != EXPECTED[..part.len()]) {
        std::process::abort(); // A panic would allocate.
    }
}

// SAFETY: a guarded buffer lies in pages of its own of sufficient size, aligned as the layout requires. All other
// buffers come from the system's allocator.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_be_numbers(layout) || !is_on() {
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
        unsafe { slot.rest(address, layout) }.iter().for_each(|bytes| check(bytes));
        if let Some(queue) = slot.queue() {
            // SAFETY: the slot's pages hold only this buffer, which is being freed.
            unsafe { slot.bytes() }.fill(PATTERN);
            if queue.lock().is_ok_and(|mut queue| queue.push(slot.pages)) {
                return;
            }
        }
        // SAFETY: as above.
        unsafe {
            libc::madvise(slot.pages as *mut _, slot.length, libc::MADV_DONTNEED);
            libc::mprotect(slot.pages as *mut _, slot.length, libc::PROT_NONE);
        }
    }
}

/// Returns `true` if buffers are guarded, and `false` if the environment variable `SCONCE_GUARD_PAGES` is `off`.
fn is_on() -> bool {
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
    let slot = slot(layout.size().next_multiple_of(PAGE))?;
    let at_the_end = COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let lead = if at_the_end { (slot.length - layout.size()) / layout.align() * layout.align() } else { 0 };
    let address = slot.pages + lead;
    // SAFETY: the slot's pages are accessible and belong to this call only.
    unsafe { slot.rest(address, layout) }.into_iter().for_each(|bytes| bytes.fill(PATTERN));
    NonNull::new(address as *mut u8)
}

/// Returns accessible pages between two inaccessible ones: those that were freed first, or new ones.
fn slot(length: usize) -> Option<Slot> {
    let freed = |slot: Slot| slot.queue()?.lock().ok()?.pop();
    if let Some(pages) = freed(Slot { pages: 0, length }) {
        let slot = Slot { pages, length };
        // SAFETY: the queue held the pages, which are accessible and have no buffer.
        check(unsafe { slot.bytes() });
        return Some(slot);
    }
    let offset = USED.fetch_add(length + PAGE, Ordering::Relaxed);
    if offset + length + PAGE > RESERVED {
        return None;
    }
    let pages = reserved()? + PAGE + offset;
    // SAFETY: the atomic counter gives this range of the reserved addresses to this call only.
    let result = unsafe { libc::mprotect(pages as *mut _, length, libc::PROT_READ | libc::PROT_WRITE) };
    (result == 0).then_some(Slot { pages, length })
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
