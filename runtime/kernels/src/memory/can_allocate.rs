//! Whether an allocation would succeed.

/// Up to this many elements, assume that allocation succeeds.
const MAX_UNCHECKED_ELEMENTS: usize = 1 << 28;

/// Returns `true` if a tensor of this shape can be allocated. Tries the allocation if the tensor is large, because a
/// failed allocation would abort the process.
pub fn can_allocate<T>(dims: &[usize]) -> bool {
    let elements = dims.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    elements.is_some_and(|elements| {
        let mut memory = Vec::<T>::new();
        let succeeds = elements <= MAX_UNCHECKED_ELEMENTS || memory.try_reserve_exact(elements).is_ok();
        // Keeps the compiler from removing the allocation.
        std::hint::black_box(&memory);
        succeeds
    })
}
