//! Tensors by name, in the order of a state dict.

use std::collections::HashMap;

use crate::checkpoint::budget::Budget;
use crate::{Error, Result};

use super::values::Value;

/// The maximum length of a name in bytes. A file may use one long name for many tensors, and each of them stores copies
/// of the name.
const MAX_NAME: usize = 1 << 10;

/// The memory of an entry in bytes, without the name.
const PER_ENTRY: usize = 128;

/// The tensors of a state dict, including those that candle cannot represent.
#[derive(Debug, Default)]
pub(super) struct NamedTensors<'a> {
    entries: Vec<(String, Value<'a>)>,
    positions: HashMap<String, usize>,
}

impl<'a> NamedTensors<'a> {
    /// Adds a tensor. As in Python, a repeated name keeps its position and has the last value.
    ///
    /// # Errors
    ///
    /// Fails if the name is too long, or if the names need more memory than the budget has left.
    pub fn insert(&mut self, name: &str, tensor: Value<'a>, budget: &mut Budget) -> Result<()> {
        check_name(name.len())?;
        if let Some(&position) = self.positions.get(name) {
            self.entries[position].1 = tensor;
            return Ok(());
        }
        // The name is stored four times: in the list and the map here, and later in the list and the map of the state
        // dict.
        budget.spend(Some(PER_ENTRY + 4 * name.len()))?;
        self.positions.insert(name.to_owned(), self.entries.len());
        self.entries.push((name.to_owned(), tensor));
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the names and tensors in order.
    pub fn into_entries(self) -> Vec<(String, Value<'a>)> {
        self.entries
    }
}

/// Returns an error if a name of `length` bytes is too long.
pub(super) fn check_name(length: usize) -> Result<()> {
    if length <= MAX_NAME {
        return Ok(());
    }
    Err(Error::msg(format!("expected names of at most {MAX_NAME} bytes, found one of {length}")))
}
