//! Working memory that begins with a cache line: a vector that lies across two of them is read twice.

use std::ops::{Deref, DerefMut};

/// The bytes of a cache line, as on most machines.
const LINE: usize = 64;

/// Numbers from the start of a cache line on.
pub(super) struct Aligned<R> {
    /// With room for those before the line.
    numbers: Vec<R>,
    start: usize,
    len: usize,
}

impl<R: Copy + Default> Aligned<R> {
    pub fn zeros(len: usize) -> Self {
        let room = LINE / size_of::<R>();
        let numbers = vec![R::default(); len + room];
        // At worst it is aligned as it is.
        let start = numbers.as_ptr().align_offset(LINE).min(room);
        Self { numbers, start, len }
    }
}

impl<R> Deref for Aligned<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.numbers[self.start..][..self.len]
    }
}

impl<R> DerefMut for Aligned<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.numbers[self.start..][..self.len]
    }
}
