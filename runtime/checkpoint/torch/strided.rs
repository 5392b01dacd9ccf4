//! How a tensor looks into a storage, and its elements in row-major order.

use std::borrow::Cow;
use std::iter::zip;

use crate::{Error, Result};

/// Offset, shape and strides, all in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// As many as PyTorch's own tensors may have.
const MAX_DIMENSIONS: usize = 64;

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
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let elements = self.shape.iter().try_fold(1, |product: usize, &length| product.checked_mul(length));
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

    /// The bytes of its elements, each of `size` bytes, in row-major order.
    ///
    /// # Errors
    ///
    /// When one of them lies outside the storage.
    pub fn row_major<'s>(&self, storage: &'s [u8], size: usize) -> Result<Cow<'s, [u8]>> {
        let available = storage.len() / size;
        let elements = self.elements(available)?;
        if elements == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if self.is_row_major() {
            return Ok(Cow::Borrowed(&storage[self.offset * size..(self.offset + elements) * size]));
        }
        Ok(Cow::Owned(match size {
            1 => self.gather::<1>(storage, elements),
            2 => self.gather::<2>(storage, elements),
            4 => self.gather::<4>(storage, elements),
            _ => self.gather::<8>(storage, elements),
        }))
    }

    fn is_row_major(&self) -> bool {
        let mut expected = 1;
        zip(&self.shape, &self.strides).rev().all(|(&length, &stride)| {
            let fits = length == 1 || stride == expected;
            expected *= length;
            fits
        })
    }

    /// Copies element by element. The view must lie within the storage and not be empty.
    fn gather<const SIZE: usize>(&self, storage: &[u8], elements: usize) -> Vec<u8> {
        let (storage, _) = storage.as_chunks::<SIZE>();
        let (row_length, row_stride) = match (self.shape.last(), self.strides.last()) {
            (Some(&length), Some(&stride)) => (length, stride),
            _ => (1, 0),
        };
        let outer = self.shape.len().saturating_sub(1);
        let mut index = vec![0; outer];
        let mut row = self.offset;
        let mut bytes = Vec::with_capacity(elements * SIZE);
        loop {
            bytes.extend((0..row_length).flat_map(|i| storage[row + i * row_stride]));
            // Counts like an odometer: the last of the outer dimensions turns fastest.
            let Some(turned) = (0..outer).rev().find(|&axis| index[axis] + 1 < self.shape[axis]) else {
                return bytes;
            };
            let turned_over = turned + 1..outer;
            for (digit, stride) in zip(&mut index[turned_over.clone()], &self.strides[turned_over]) {
                row -= *digit * stride;
                *digit = 0;
            }
            index[turned] += 1;
            row += self.strides[turned];
        }
    }
}
