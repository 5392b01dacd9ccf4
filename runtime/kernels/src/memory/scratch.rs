//! Scratch memory that a thread keeps between tasks: fresh memory costs a page fault for each page.

use std::cell::RefCell;

use super::aligned::{AlignedVec, CACHE_LINE_FLOATS};

thread_local! {
    /// The allocations that this thread keeps for later tasks.
    static SPARE: RefCell<Vec<AlignedVec>> = const { RefCell::new(Vec::new()) };
}

/// The largest allocation that a thread keeps, in bytes.
const MAX_KEPT: usize = 64 << 20;

/// `N` slices of scratch memory, each aligned to a cache line.
///
/// The contents are unspecified. A task may hold several scratch memories at the same time, even while its thread runs
/// another task. Dropping a scratch memory returns it to the thread.
pub(crate) struct Scratch<const N: usize> {
    memory: AlignedVec,
    lens: [usize; N],
}

impl<const N: usize> Scratch<N> {
    /// Returns scratch memory for slices of the given lengths.
    pub fn new(lens: [usize; N]) -> Self {
        let needed = lens.map(|len| len.next_multiple_of(CACHE_LINE_FLOATS)).iter().sum();
        let mut memory = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        if memory.len() < needed {
            drop(std::mem::take(&mut memory));
            memory = AlignedVec::zeros(needed);
        }
        // With NaN, tests detect that a task reads an element that it has not written.
        #[cfg(all(feature = "testing", debug_assertions))]
        memory[..needed].fill(f32::NAN);
        Self { memory, lens }
    }

    /// Returns the slices.
    pub fn slices(&mut self) -> [&mut [f32]; N] {
        let mut rest = &mut *self.memory;
        self.lens.map(|len| {
            let (slice, after) =
                std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(CACHE_LINE_FLOATS));
            rest = after;
            &mut slice[..len]
        })
    }
}

impl<const N: usize> Drop for Scratch<N> {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if size_of_val(&*memory) <= MAX_KEPT {
            // An exiting thread may have destroyed its spare memory already. `try_with` then fails, and `memory` is
            // freed.
            let _ = SPARE.try_with(|spare| spare.borrow_mut().push(memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn slices_are_disjoint_and_aligned() {
        for lens in [[0, 0, 0], [1, 16, 17], [1000, 0, 3]] {
            let mut scratch = Scratch::new(lens);
            let mut inner = Scratch::new([5]);
            inner.slices()[0].fill(-1.);
            for (i, slice) in scratch.slices().into_iter().enumerate() {
                assert!(slice.as_ptr().addr().is_multiple_of(64));
                slice.fill(i as f32);
            }
            let slices = scratch.slices();
            assert_eq!(slices.each_ref().map(|slice| slice.len()), lens);
            assert!(slices.iter().enumerate().all(|(i, slice)| slice.iter().all(|x| *x == i as f32)));
            assert_eq!(inner.slices()[0], [-1.; 5]);
        }
    }

    #[test]
    fn threads_reuse_their_memory() {
        let address = |len| Scratch::new([len]).slices()[0].as_ptr();
        let first = address(4096);
        assert_eq!([address(4096), address(16)], [first; 2]);
    }
}
