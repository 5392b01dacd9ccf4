//! Memory that activations lease and give back, so that a pass needs as much as is alive at once, not as much
//! as it makes, and touches the same pages from pass to pass.
//!
//! Each pass at work has a strip of memory, cut first fit. What does not fit gets memory of its own, and when
//! the last lease of a pass has come back, its strip is made as long as the pass would have needed. There are
//! as many strips as there were passes at the same time. The arena lives as long as a layer that has used it.

use crate::pages::ask_for_large;
use candle_core::{Result, bail};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

/// A cache line; leases begin at one.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// Ranges that live leases own, each alone.
struct Memory(Box<[UnsafeCell<Line>]>);

// SAFETY: a line is reached through the one lease that owns it, which borrows as a slice does.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeros, on pages that are fresh until somebody writes to them.
    fn new(lines: usize) -> Result<Arc<Self>> {
        let mut memory = Vec::new();
        if let Err(error) = memory.try_reserve_exact(lines) {
            bail!("no memory for an activation of {} elements: {error}", lines * LINE)
        }
        ask_for_large(memory.spare_capacity_mut());
        memory.resize_with(lines, || UnsafeCell::new(Line([0.; LINE])));
        Ok(Arc::new(Self(memory.into_boxed_slice())))
    }

    fn lines(&self) -> usize {
        self.0.len()
    }
}

/// Where [`Arena::shared`] is, while somebody uses it.
static SHARED: Mutex<Weak<Arena>> = Mutex::new(Weak::new());

/// The strips of all passes.
#[derive(Default)]
pub struct Arena(Mutex<Vec<Strip>>);

/// What one pass leases from.
struct Strip {
    id: u64,
    memory: Option<Arc<Memory>>,
    /// The leased ranges of `memory`, in order.
    taken: Vec<Range<usize>>,
    /// Whose pass it is.
    thread: ThreadId,
    /// Lines that are leased, of `memory` and beside it, and the most of this pass.
    leased: usize,
    most: usize,
    /// Lines that this pass has leased beside `memory`.
    beside: usize,
    /// Passes in a row that needed less than half.
    idle: usize,
}

/// Passes that a strip stays too long for, before it is cut.
const PATIENCE: usize = 16;

/// The memory of activations in the kernels' own layout, in bytes: see [`activation_memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivationMemory {
    /// Leased now.
    pub leased: usize,
    /// The most that was leased at once by the last pass, or by the one at work.
    pub peak: usize,
    /// Kept for the next pass, in use or not.
    pub held: usize,
}

/// How much memory the activations of all networks have that inference keeps in the kernels' own layout.
///
/// They lie in an arena that is as large as what is alive at once, not as all that a pass makes, and that is
/// freed with the last network that has used it.
pub fn activation_memory() -> ActivationMemory {
    let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    shared.map_or_else(ActivationMemory::default, |arena| arena.usage())
}

impl Arena {
    /// The arena of all layers; a new one where none uses it any more.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let arena = Arc::new(Arena::default());
            *shared = Arc::downgrade(&arena);
            arena
        })
    }

    /// `len` floats of any content.
    ///
    /// # Errors
    /// The machine has not so much memory.
    pub fn lease(self: &Arc<Self>, len: usize) -> Result<Lease> {
        let lines = len.div_ceil(LINE).max(1);
        let mut strips = self.strips();
        let strip = strip_of(&mut strips, std::thread::current().id());
        let (memory, start) = match strip.place(lines) {
            Some(place) => place,
            None => {
                strip.beside += lines;
                (Memory::new(lines)?, 0)
            }
        };
        strip.leased += lines;
        strip.most = strip.most.max(strip.leased);
        Ok(Lease { arena: self.clone(), strip: strip.id, memory, lines: start..start + lines, len })
    }

    /// How much there is of all passes together.
    pub fn usage(&self) -> ActivationMemory {
        let bytes = size_of::<Line>();
        self.strips().iter().fold(ActivationMemory::default(), |usage, strip| ActivationMemory {
            leased: usage.leased + strip.leased * bytes,
            peak: usage.peak + strip.most * bytes,
            held: usage.held + strip.memory.as_ref().map_or(0, |memory| memory.lines()) * bytes,
        })
    }

    fn strips(&self) -> MutexGuard<'_, Vec<Strip>> {
        // Nobody panics between two states of the list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, lease: &Lease) {
        let mut strips = self.strips();
        let Some(strip) = strips.iter_mut().find(|strip| strip.id == lease.strip) else { return };
        if strip.memory.as_ref().is_some_and(|memory| Arc::ptr_eq(memory, &lease.memory)) {
            strip.taken.retain(|taken| *taken != lease.lines);
        }
        strip.leased -= lease.lines.len();
        if strip.leased == 0 {
            strip.end_pass();
        }
    }
}

/// The strip of the thread's pass, or one that nobody uses, or a new one.
fn strip_of(strips: &mut Vec<Strip>, thread: ThreadId) -> &mut Strip {
    let own = strips.iter().position(|strip| strip.leased > 0 && strip.thread == thread);
    let index = own.or_else(|| strips.iter().position(|strip| strip.leased == 0)).unwrap_or_else(|| {
        let id = strips.iter().map(|strip| strip.id + 1).max().unwrap_or(0);
        strips.push(Strip {
            id,
            memory: None,
            taken: Vec::new(),
            thread,
            leased: 0,
            most: 0,
            beside: 0,
            idle: 0,
        });
        strips.len() - 1
    });
    let strip = &mut strips[index];
    if strip.leased == 0 {
        (strip.thread, strip.most, strip.beside) = (thread, 0, 0);
    }
    strip
}

impl Strip {
    /// The first gap of so many lines, which is taken.
    fn place(&mut self, lines: usize) -> Option<(Arc<Memory>, usize)> {
        let memory = self.memory.as_ref()?;
        let mut start = 0;
        let mut at = 0;
        for taken in &self.taken {
            if taken.start - start >= lines {
                break;
            }
            (start, at) = (taken.end, at + 1);
        }
        if memory.lines() - start < lines {
            return None;
        }
        self.taken.insert(at, start..start + lines);
        Some((memory.clone(), start))
    }

    /// Makes the memory as long as this pass would have needed, or shorter where passes have long needed less.
    fn end_pass(&mut self) {
        let lines = self.memory.as_ref().map_or(0, |memory| memory.lines());
        self.idle = if 2 * self.most < lines { self.idle + 1 } else { 0 };
        let wanted = match (self.beside > 0, self.idle > PATIENCE) {
            // Where the longest moment would have fitted, it was cut up: then there is room for the rest too.
            (true, _) if lines >= self.most => lines + self.beside,
            (true, _) | (false, true) => self.most,
            (false, false) => return,
        };
        self.idle = 0;
        self.memory = None;
        // Without the memory, the next pass leases beside it and asks again.
        self.memory = Memory::new(wanted).ok();
    }
}

/// Floats that belong to whoever has this, and go back to their arena with it.
pub struct Lease {
    arena: Arc<Arena>,
    strip: u64,
    memory: Arc<Memory>,
    lines: Range<usize>,
    len: usize,
}

impl Lease {
    /// Where it comes from, and what is made of it may come from too.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    fn start(&self) -> *mut f32 {
        UnsafeCell::raw_get(self.memory.0[self.lines.start..].as_ptr()).cast()
    }
}

impl Deref for Lease {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` floats of lines that this lease alone owns, all of them written to at least once.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the lease is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.arena.give_back(self);
    }
}

#[cfg(test)]
mod tests {
    use super::Arena;
    use std::sync::Arc;

    const KIB: usize = 256;

    /// Leases of 4, 1 and 1 KiB, of which the first goes before the last comes.
    fn pass(arena: &Arc<Arena>) -> candle_core::Result<()> {
        let mut first = arena.lease(4 * KIB)?;
        let mut second = arena.lease(KIB)?;
        first.fill(1.);
        second.fill(2.);
        assert!(first.iter().all(|x| *x == 1.) && (first.as_ptr() as usize).is_multiple_of(64));
        drop(first);
        let mut third = arena.lease(KIB)?;
        third.fill(3.);
        assert!(second.iter().all(|x| *x == 2.) && third.iter().all(|x| *x == 3.));
        Ok(())
    }

    #[test]
    fn a_pass_has_what_is_alive_at_once() -> candle_core::Result<()> {
        let arena = Arc::new(Arena::default());
        for _ in 0..3 {
            pass(&arena)?;
            let usage = arena.usage();
            assert_eq!((usage.leased, usage.peak, usage.held), (0, 5 << 10, 5 << 10));
        }
        for _ in 0..40 {
            drop(arena.lease(KIB)?);
        }
        assert_eq!(arena.usage().held, 1 << 10);
        Ok(())
    }

    #[test]
    fn leases_come_back_in_any_order_and_from_any_thread() -> candle_core::Result<()> {
        let arena = Arc::new(Arena::default());
        for round in 0..50usize {
            let mut leases = Vec::new();
            for i in 0..20 {
                let mut lease = arena.lease(1 + (i * 37 + round * 11) % 500)?;
                lease.fill(i as f32);
                leases.push((i, lease));
                if i % 3 == round % 3 {
                    leases.swap_remove((i * 7 + round) % leases.len());
                }
            }
            assert!(leases.iter().all(|(i, lease)| lease.iter().all(|x| *x == *i as f32)));
            std::thread::scope(|scope| {
                scope.spawn(|| pass(&arena));
                scope.spawn(move || drop(leases));
            });
        }
        assert_eq!(arena.usage().leased, 0);
        assert!(arena.strips().len() <= 2);
        Ok(())
    }
}
