//! The arena of activations. Activations that are not alive at the same time share memory, and every forward pass (here
//! called a pass) uses the same pages.
//!
//! Each running pass leases ranges, first fit, from a separate region. A lease that does not fit gets a separate
//! allocation. When the last lease of a pass is dropped, the region of the pass grows if a lease did not fit in it, and
//! shrinks if many passes in a row needed less than half of it. The number of regions is the maximum number of passes
//! that have run concurrently. The arena lives as long as any layer that has used it.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

use candle_core::{Result, bail};

use super::aligned::{CACHE_LINE_FLOATS, CacheLine};
use super::huge_pages::advise_huge_pages;

/// An allocation of cache lines. Live leases own disjoint ranges of it.
struct Memory(Box<[UnsafeCell<CacheLine>]>);

// SAFETY: a line is accessed only through the lease that owns it, under the borrowing rules of a slice.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates lines of zeros, on huge pages if the system grants them.
    fn new(lines: usize) -> Result<Arc<Self>> {
        let mut memory = Vec::new();
        if let Err(error) = memory.try_reserve_exact(lines) {
            bail!("could not allocate an activation of {} elements: {error}", lines * CACHE_LINE_FLOATS)
        }
        advise_huge_pages(memory.spare_capacity_mut());
        memory.resize_with(lines, || UnsafeCell::new(CacheLine([0.; CACHE_LINE_FLOATS])));
        Ok(Arc::new(Self(memory.into_boxed_slice())))
    }

    fn lines(&self) -> usize {
        self.0.len()
    }
}

/// The arena that [`Arena::shared`] returns, while a layer uses it.
static SHARED: Mutex<Weak<Arena>> = Mutex::new(Weak::new());

/// The regions of all passes.
#[derive(Default)]
pub struct Arena(Mutex<Vec<Region>>);

/// The memory that one pass leases from.
struct Region {
    id: u64,
    memory: Option<Arc<Memory>>,
    /// The leased ranges of `memory`, in order.
    leased: Vec<Range<usize>>,
    /// The thread that runs the pass.
    thread: ThreadId,
    /// The number of leased lines, in `memory` and in separate allocations.
    lines: usize,
    /// The peak of `lines` in this pass.
    peak: usize,
    /// The number of lines that this pass has leased in separate allocations.
    overflow: usize,
    /// The number of consecutive passes that needed less than half of `memory`.
    oversized_passes: usize,
}

/// The number of passes after which an oversized region shrinks.
const SHRINK_AFTER: usize = 16;

/// The memory of activations in the channel-blocked layout, in bytes. [`activation_memory`] returns this value.
///
/// # Examples
/// ```
/// use sconce_kernels::internal::{ActivationMemory, activation_memory};
///
/// // No network has run yet.
/// assert_eq!(activation_memory(), ActivationMemory { leased: 0, peak: 0, held: 0 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivationMemory {
    /// The number of bytes leased now.
    pub leased: usize,
    /// The peak of `leased` in the running pass, or in the last pass if none is running. If passes have run
    /// concurrently, the sum of their peaks.
    pub peak: usize,
    /// The number of bytes allocated for the current and later passes, leased or not.
    pub held: usize,
}

/// Returns the memory of the activations that inference keeps in the channel-blocked layout, for all networks together.
///
/// The activations are in an arena, which is only as large as the activations that are alive at the same time. The
/// arena is freed with the last network that has used it.
pub fn activation_memory() -> ActivationMemory {
    let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    shared.map_or_else(ActivationMemory::default, |arena| arena.usage())
}

impl Arena {
    /// Returns the arena that all layers share. Creates it if no layer uses one.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let arena = Arc::new(Arena::default());
            *shared = Arc::downgrade(&arena);
            arena
        })
    }

    /// Leases `len` floats, aligned to a cache line. Their contents are unspecified.
    ///
    /// # Errors
    /// Fails if the allocation fails.
    pub fn lease(self: &Arc<Self>, len: usize) -> Result<Lease> {
        let lines = len.div_ceil(CACHE_LINE_FLOATS).max(1);
        let mut regions = self.regions();
        let region = region_of(&mut regions, std::thread::current().id());
        let (memory, start) = match region.first_fit(lines) {
            Some(place) => place,
            None => {
                region.overflow += lines;
                (Memory::new(lines)?, 0)
            }
        };
        region.lines += lines;
        region.peak = region.peak.max(region.lines);
        Ok(Lease { arena: self.clone(), region: region.id, memory, lines: start..start + lines, len })
    }

    /// Returns the memory of all regions together.
    pub fn usage(&self) -> ActivationMemory {
        let bytes = size_of::<CacheLine>();
        self.regions().iter().fold(ActivationMemory::default(), |usage, region| ActivationMemory {
            leased: usage.leased + region.lines * bytes,
            peak: usage.peak + region.peak * bytes,
            held: usage.held + region.memory.as_ref().map_or(0, |memory| memory.lines()) * bytes,
        })
    }

    fn regions(&self) -> MutexGuard<'_, Vec<Region>> {
        // No code panics while the list is inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, lease: &Lease) {
        let mut regions = self.regions();
        let Some(region) = regions.iter_mut().find(|region| region.id == lease.region) else { return };
        if region.memory.as_ref().is_some_and(|memory| Arc::ptr_eq(memory, &lease.memory)) {
            region.leased.retain(|leased| *leased != lease.lines);
        }
        region.lines -= lease.lines.len();
        if region.lines == 0 {
            region.end_pass();
        }
    }
}

/// Returns the region of the thread's pass, or else an unused region, or else a new region.
fn region_of(regions: &mut Vec<Region>, thread: ThreadId) -> &mut Region {
    let own = regions.iter().position(|region| region.lines > 0 && region.thread == thread);
    let unused = || regions.iter().position(|region| region.lines == 0);
    let index = own.or_else(unused).unwrap_or_else(|| {
        let id = regions.iter().map(|region| region.id + 1).max().unwrap_or(0);
        regions.push(Region::new(id, thread));
        regions.len() - 1
    });
    let region = &mut regions[index];
    if region.lines == 0 {
        (region.thread, region.peak, region.overflow) = (thread, 0, 0);
    }
    region
}

impl Region {
    fn new(id: u64, thread: ThreadId) -> Self {
        let memory = None;
        let leased = Vec::new();
        Self { id, memory, leased, thread, lines: 0, peak: 0, overflow: 0, oversized_passes: 0 }
    }

    /// Leases the first gap of at least `lines` lines. Returns `None` if there is no such gap.
    fn first_fit(&mut self, lines: usize) -> Option<(Arc<Memory>, usize)> {
        let memory = self.memory.as_ref()?;
        let mut start = 0;
        let mut index = 0;
        for leased in &self.leased {
            if leased.start - start >= lines {
                break;
            }
            start = leased.end;
            index += 1;
        }
        if memory.lines() - start < lines {
            return None;
        }
        self.leased.insert(index, start..start + lines);
        Some((memory.clone(), start))
    }

    /// Grows the memory to the size that this pass needed, or shrinks it after a series of smaller passes.
    fn end_pass(&mut self) {
        let lines = self.memory.as_ref().map_or(0, |memory| memory.lines());
        self.oversized_passes = if 2 * self.peak < lines { self.oversized_passes + 1 } else { 0 };
        let wanted = match (self.overflow > 0, self.oversized_passes > SHRINK_AFTER) {
            // The peak fits, but fragmentation caused an overflow: add space for the overflow.
            (true, _) if lines >= self.peak => lines + self.overflow,
            (true, _) | (false, true) => self.peak,
            (false, false) => return,
        };
        self.oversized_passes = 0;
        self.memory = None;
        // If the allocation fails, the next pass leases separate allocations and tries again.
        self.memory = Memory::new(wanted).ok();
    }
}

/// A slice of floats from an [`Arena`], exclusively owned. Dropping it returns the memory to the arena.
pub struct Lease {
    arena: Arc<Arena>,
    region: u64,
    memory: Arc<Memory>,
    lines: Range<usize>,
    len: usize,
}

impl Lease {
    /// Returns the arena from which the memory is leased.
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
        // SAFETY: the lines hold at least `len` floats, which `Memory::new` initialized and only this lease owns.
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
        self.arena.release(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Arena;

    /// The number of floats in a KiB.
    const KIB: usize = 256;

    /// Leases 4, 1 and 1 KiB and drops the first before the last is leased.
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
    fn the_arena_holds_the_peak_of_a_pass() -> candle_core::Result<()> {
        let arena = Arc::new(Arena::default());
        for _ in 0..3 {
            // At its peak, a pass leases 4 + 1 KiB.
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
    fn leases_are_returned_in_any_order_and_from_any_thread() -> candle_core::Result<()> {
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
        assert!(arena.regions().len() <= 2);
        Ok(())
    }
}
