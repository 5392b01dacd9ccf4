//! A memory budget for reading a file. It prevents a small file from making its reader allocate much memory.

use crate::{Error, Result};

/// The memory that the reader of a file may still allocate. Before the reader allocates memory whose size the file
/// declares, it spends that size from the budget.
pub(super) struct Budget {
    allowed: usize,
    left: usize,
}

impl Budget {
    /// The bytes allowed per byte of the file. Tensors usually need as many bytes as the file. They need twice as many
    /// if they share storages, or if candle's dtype is twice as large as the element type in the file.
    const PER_BYTE: usize = 2;

    /// The bytes allowed in addition, for a file of any length. A small file may repeat elements, for example in an
    /// expanded mask.
    const BASE: usize = 8 << 20;

    /// The bytes for the name, the shape and the reference counts of a tensor.
    const PER_TENSOR: usize = 1 << 10;

    /// Creates the budget for a file of `length` bytes. If `limit` is set, the budget is `limit` bytes.
    pub fn new(length: usize, limit: Option<usize>) -> Self {
        let default = length.saturating_mul(Self::PER_BYTE).saturating_add(Self::BASE);
        let allowed = limit.unwrap_or(default);
        Self { allowed, left: allowed }
    }

    /// Spends `bytes`. Returns an error if fewer bytes are left. Also returns an error if `bytes` is `None`, the result
    /// of an overflow in the caller.
    pub fn spend(&mut self, bytes: Option<usize>) -> Result<()> {
        let left = bytes.and_then(|bytes| self.left.checked_sub(bytes)).ok_or_else(|| {
            Error::msg(format!(
                "expected a file whose content needs at most {} bytes of memory, found one that needs more \
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

    /// Returns the number of bytes that may still be spent.
    pub fn left(&self) -> usize {
        self.left
    }
}
