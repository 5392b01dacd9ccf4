//! How much memory reading a file may take, so that a small file cannot ask for a large machine.

use crate::{Error, Result};

/// What is left of the memory that a file may ask for.
///
/// Lengths that a file declares are taken off before anything is allocated for them.
pub(super) struct Budget {
    allowed: usize,
    left: usize,
}

impl Budget {
    /// The tensors of a plain file take its length once; those that share storages, or whose elements
    /// candle has only in twice the size, take it twice.
    const PER_BYTE: usize = 2;

    /// Small files may repeat what they have: an expanded mask, say.
    const ANYWAY: usize = 8 << 20;

    /// Names, shapes and reference counts of one tensor.
    const PER_TENSOR: usize = 1 << 10;

    /// For a file of `length` bytes, unless the user set a `limit`.
    pub fn new(length: usize, limit: Option<usize>) -> Self {
        let usual = length.saturating_mul(Self::PER_BYTE).saturating_add(Self::ANYWAY);
        let allowed = limit.unwrap_or(usual);
        Self { allowed, left: allowed }
    }

    /// Takes off `bytes`, which is none where counting them overflowed.
    pub fn spend(&mut self, bytes: Option<usize>) -> Result<()> {
        let left = bytes.and_then(|bytes| self.left.checked_sub(bytes)).ok_or_else(|| {
            Error::msg(format!(
                "expected a file whose content takes at most {} bytes of memory, got one that asks for more \
                 (`Load::limit` allows it)",
                self.allowed
            ))
        })?;
        self.left = left;
        Ok(())
    }

    /// Takes off a tensor of so many bytes.
    pub fn spend_tensor(&mut self, bytes: Option<usize>) -> Result<()> {
        self.spend(bytes.and_then(|bytes| bytes.checked_add(Self::PER_TENSOR)))
    }

    pub fn left(&self) -> usize {
        self.left
    }
}
