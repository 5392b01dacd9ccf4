//! Vectors that are allocated uninitialized and written once.

use std::mem::MaybeUninit;

/// `len` zeros; fresh pages from the system where the type allows it.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

/// A vector of `len` elements that `write` initializes.
///
/// # Safety
/// `write` must initialize every element of the slice.
pub(crate) unsafe fn vec_written_by<T>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut elements = Vec::with_capacity(len);
    write(&mut elements.spare_capacity_mut()[..len]);
    // SAFETY: there is room for `len` elements, and the caller promises that they are initialized.
    unsafe { elements.set_len(len) };
    elements
}

/// Writes zero to every element and returns the initialized slice.
pub(crate) fn write_zeros<T: Copy + Default>(elements: &mut [MaybeUninit<T>]) -> &mut [T] {
    elements.fill(MaybeUninit::new(T::default()));
    // SAFETY: the same memory, of which every element has just been initialized.
    unsafe { &mut *(std::ptr::from_mut(elements) as *mut [T]) }
}
