//! Vectors of numbers that begin at a cache line, because a SIMD load that crosses a line costs as much as two loads.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::huge_pages::advise_huge_pages;

/// The number of `f32`s in a cache line.
pub(crate) const CACHE_LINE_FLOATS: usize = 16;

/// Sixteen numbers aligned to a cache line. Sixteen `f32`s fill exactly one line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct CacheLine<T = f32>(pub [T; CACHE_LINE_FLOATS]);

/// A vector of `f32` or `f64` that begins at a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlignedVec<T = f32> {
    lines: Vec<CacheLine<T>>,
    len: usize,
}

impl<T: Copy + Default> AlignedVec<T> {
    /// Returns a vector of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        // SAFETY: every number is written.
        unsafe { Self::written_by(len, |numbers| numbers.fill(MaybeUninit::new(T::default()))) }
    }

    /// Returns a vector of `len` numbers that `write` initializes, on huge pages if the system grants them.
    ///
    /// # Safety
    /// `write` must initialize every number of the slice.
    pub unsafe fn written_by(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Self {
        const { assert!(size_of::<CacheLine<T>>() == CACHE_LINE_FLOATS * size_of::<T>()) };
        let count = len.div_ceil(CACHE_LINE_FLOATS);
        let mut lines = Vec::<CacheLine<T>>::with_capacity(count);
        let spare = lines.spare_capacity_mut();
        advise_huge_pages(spare);
        if let Some(last) = spare[..count].last_mut() {
            last.write(CacheLine([T::default(); CACHE_LINE_FLOATS]));
        }
        // SAFETY: a line is an array of numbers without padding, and `count` lines have at least `len` numbers.
        write(unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast(), len) });
        // SAFETY: `write` has initialized `len` numbers, and the rest of the last line was initialized before.
        unsafe { lines.set_len(count) };
        Self { lines, len }
    }
}

impl<T> Deref for AlignedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: a line is an array of numbers without padding, and the lines have at least `len` initialized numbers.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T> DerefMut for AlignedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedVec;

    fn check<T: Copy + Default + PartialEq + From<u8>>() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut numbers = AlignedVec::<T>::zeros(len);
            assert!(numbers.len() == len && numbers.iter().all(|x| *x == T::default()));
            assert!(numbers.as_ptr().addr().is_multiple_of(64));
            numbers.iter_mut().zip(0..).for_each(|(x, i): (_, u16)| *x = T::from((i % 251) as u8));
            let copy = numbers.clone();
            assert!(copy.iter().zip(0..).all(|(x, i): (_, u16)| *x == T::from((i % 251) as u8)));
            assert!(copy.len() == len && copy.as_ptr().addr().is_multiple_of(64));
        }
    }

    #[test]
    fn begins_at_a_cache_line() {
        check::<f32>();
        check::<f64>();
    }
}
