//! Strided views of a storage.

use std::iter::zip;

use crate::{Error, Result};

use super::element::{Elements, element_count};

/// Offset, shape and strides of a tensor in its storage, in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The maximum number of dimensions, as in PyTorch.
pub(super) const MAX_DIMENSIONS: usize = 64;

impl View {
    /// Checks the view and returns its number of elements.
    ///
    /// # Errors
    ///
    /// Fails if the view exceeds a storage of `available` elements, if `shape` and `strides` have different lengths, or
    /// if there are more than [`MAX_DIMENSIONS`] dimensions.
    pub fn checked_element_count(&self, available: usize) -> Result<usize> {
        if self.shape.len() != self.strides.len() || self.shape.len() > MAX_DIMENSIONS {
            return Err(self.invalid(available));
        }
        let elements = element_count(&self.shape);
        if elements == Some(0) {
            return Ok(0);
        }
        let last = zip(&self.shape, &self.strides).try_fold(self.offset, |last, (&length, &stride)| {
            last.checked_add((length - 1).checked_mul(stride)?)
        });
        match (elements, last) {
            (Some(elements), Some(last)) if last < available => Ok(elements),
            _ => Err(self.invalid(available)),
        }
    }

    fn invalid(&self, available: usize) -> Error {
        let Self { offset, shape, strides } = self;
        Error::msg(format!(
            "shape {shape:?} with strides {strides:?} at offset {offset} is not a view of the storage of \
             {available} elements"
        ))
    }

    /// Returns `true` if the elements are contiguous and in row-major order.
    pub fn is_row_major(&self) -> bool {
        let mut expected = 1_usize;
        zip(&self.shape, &self.strides).rev().all(|(&length, &stride)| {
            let matches = length == 1 || stride == expected;
            expected = expected.saturating_mul(length);
            matches
        })
    }
}

/// The elements of a view of `storage`. The view can have any strides.
pub(super) struct Strided<'s> {
    pub storage: &'s [u8],
    pub view: &'s View,
}

impl Elements for Strided<'_> {
    fn decode<const SIZE: usize, T>(&mut self, decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>> {
        let Self { storage, view } = *self;
        let (storage, _) = storage.as_chunks::<SIZE>();
        let elements = view.checked_element_count(storage.len())?;
        let mut values = Vec::with_capacity(elements);
        if elements == 0 {
            return Ok(values);
        }
        let (row_length, row_stride) = match (view.shape.last(), view.strides.last()) {
            (Some(&length), Some(&stride)) => (length, stride),
            _ => (1, 0),
        };
        let outer_rank = view.shape.len().saturating_sub(1);
        let mut outer_index = vec![0; outer_rank];
        let mut row_start = view.offset;
        loop {
            values.extend((0..row_length).map(|i| decode(storage[row_start + i * row_stride])));
            // Advance to the next row: increment the last outer index that is not at its end, and reset the indices
            // after it.
            let Some(axis) = (0..outer_rank).rev().find(|&axis| outer_index[axis] + 1 < view.shape[axis])
            else {
                return Ok(values);
            };
            let reset = axis + 1..outer_rank;
            for (index, stride) in zip(&mut outer_index[reset.clone()], &view.strides[reset]) {
                row_start -= *index * stride;
                *index = 0;
            }
            outer_index[axis] += 1;
            row_start += view.strides[axis];
        }
    }
}
