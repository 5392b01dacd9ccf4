//! A memory budget for reading a file, which prevents a small file from allocating much memory.

use crate::{Error, Result};

/// The remaining memory that a file may allocate. Readers spend it before they allocate a length declared in the file.
pub(super) struct Budget {
    allowed: usize,
    left: usize,
}

impl Budget {
    /// The bytes allowed per byte of the file. Tensors usually take the length of the file, and twice the length if
    /// they share storages or if candle stores their elements in twice the size.
    const PER_BYTE: usize = 2;

    /// The bytes allowed for any file. Small files may repeat elements, for example in an expanded mask.
    const BASE: usize = 8 << 20;

    /// The bytes for the name, the shape and the reference counts of a tensor.
    const PER_TENSOR: usize = 1 << 10;

    /// Creates the budget of a file of `length` bytes, or `limit` if `limit` is set.
    pub fn new(length: usize, limit: Option<usize>) -> Self {
        let default = length.saturating_mul(Self::PER_BYTE).saturating_add(Self::BASE);
        let allowed = limit.unwrap_or(default);
        Self { allowed, left: allowed }
    }

    /// Spends `bytes`; `None` means that the number overflowed. Returns an error if fewer bytes are left.
    pub fn spend(&mut self, bytes: Option<usize>) -> Result<()> {
        let left = bytes.and_then(|bytes| self.left.checked_sub(bytes)).ok_or_else(|| {
            Error::msg(format!(
                "expected a file whose content takes at most {} bytes of memory, found one that needs more \
                 (`Load::limit` can raise the limit)",
                self.allowed
            ))
        })?;
        self.left = left;
        Ok(())
    }

    /// Spends the memory of a tensor of `bytes` bytes.
    pub fn spend_tensor(&mut self, bytes: Option<usize>) -> Result<()> {
        self.spend(bytes.and_then(|bytes| bytes.checked_add(Self::PER_TENSOR)))
    }

    /// Returns the bytes left.
    pub fn left(&self) -> usize {
        self.left
    }
}
