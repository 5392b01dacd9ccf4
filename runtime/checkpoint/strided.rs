//! How a tensor looks into a storage, and its elements in row-major order.

use std::iter::zip;

use super::element::{Elements, element_count};
use crate::{Error, Result};

/// Offset, shape and strides, all in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// As many as PyTorch's own tensors may have.
pub(super) const MAX_DIMENSIONS: usize = 64;

impl View {
    /// The number of its elements.
    ///
    /// # Errors
    ///
    /// When one of them lies outside a storage of `available` elements.
    pub fn elements(&self, available: usize) -> Result<usize> {
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
            "shape {shape:?} with strides {strides:?} at offset {offset} does not lie within its storage of \
             {available} elements"
        ))
    }

    /// Whether its elements follow each other in the storage.
    pub fn is_row_major(&self) -> bool {
        let mut expected = 1_usize;
        zip(&self.shape, &self.strides).rev().all(|(&length, &stride)| {
            let fits = length == 1 || stride == expected;
            expected = expected.saturating_mul(length);
            fits
        })
    }
}

/// The elements of a view that lies within `storage`, where nothing else is assured of them.
pub(super) struct Strided<'s> {
    pub storage: &'s [u8],
    pub view: &'s View,
}

impl Elements for Strided<'_> {
    fn decode<const SIZE: usize, T>(&mut self, decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>> {
        let Self { storage, view } = *self;
        let (storage, _) = storage.as_chunks::<SIZE>();
        let elements = view.elements(storage.len())?;
        let mut values = Vec::with_capacity(elements);
        if elements == 0 {
            return Ok(values);
        }
        let (row_length, row_stride) = match (view.shape.last(), view.strides.last()) {
            (Some(&length), Some(&stride)) => (length, stride),
            _ => (1, 0),
        };
        let outer = view.shape.len().saturating_sub(1);
        let mut index = vec![0; outer];
        let mut row = view.offset;
        loop {
            values.extend((0..row_length).map(|i| decode(storage[row + i * row_stride])));
            // Counts like an odometer: the last of the outer dimensions turns fastest.
            let Some(turned) = (0..outer).rev().find(|&axis| index[axis] + 1 < view.shape[axis]) else {
                return Ok(values);
            };
            let turned_over = turned + 1..outer;
            for (digit, stride) in zip(&mut index[turned_over.clone()], &view.strides[turned_over]) {
                row -= *digit * stride;
                *digit = 0;
            }
            index[turned] += 1;
            row += view.strides[turned];
        }
    }
}
