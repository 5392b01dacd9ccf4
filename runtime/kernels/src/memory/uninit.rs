//! Vectors that are allocated uninitialized and then written once.

use std::mem::MaybeUninit;

/// Returns a vector of `len` zeros. For a large vector of numbers, the allocator returns pages that the system has
/// already filled with zeros, so no pass over the memory is needed.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

/// Returns a vector of `len` elements that `write` initializes.
///
/// # Safety
/// `write` must initialize every element of the slice.
pub(crate) unsafe fn vec_written_by<T>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut elements = Vec::with_capacity(len);
    write(&mut elements.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller guarantees that `write` initializes all `len` elements.
    unsafe { elements.set_len(len) };
    elements
}

/// Writes zero to every element and returns the initialized slice.
pub(crate) fn write_zeros<T: Copy + Default>(elements: &mut [MaybeUninit<T>]) -> &mut [T] {
    elements.fill(MaybeUninit::new(T::default()));
    // SAFETY: `fill` has initialized every element, and `MaybeUninit<T>` has the layout of `T`.
    unsafe { &mut *(std::ptr::from_mut(elements) as *mut [T]) }
}
