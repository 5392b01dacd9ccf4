//! Creates tensors from storages. Each storage is read once. A storage with a single view, in row-major order, is read
//! directly into the tensor.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::rc::Rc;

use candle_core::{Device, Tensor};

use crate::checkpoint::budget::Budget;
use crate::checkpoint::element::Stream;
use crate::checkpoint::input::truncated;
use crate::checkpoint::strided::Strided;
use crate::{Error, Result};

use super::Storages;
use super::values::TensorRecord;

/// Reads the tensors of a file.
pub(super) struct TensorReader<'k, 'd, Source> {
    source: Source,
    budget: &'d mut Budget,
    device: &'d Device,
    /// The number of remaining views of each storage.
    views_left: HashMap<&'k str, usize>,
    /// Storages with several views, kept until the last view is read.
    cached: HashMap<&'k str, Rc<Vec<u8>>>,
    tensors: HashMap<&'k TensorRecord<'k>, Tensor>,
}

impl<'k, 'd, Source: Storages> TensorReader<'k, 'd, Source> {
    /// Creates a reader for the tensors described by `records`.
    pub fn new(
        source: Source,
        records: impl Iterator<Item = &'k TensorRecord<'k>>,
        budget: &'d mut Budget,
        device: &'d Device,
    ) -> Self {
        let distinct: HashSet<_> = records.collect();
        let mut views_left = HashMap::new();
        for record in distinct {
            *views_left.entry(record.storage.key).or_default() += 1;
        }
        Self { source, budget, device, views_left, cached: HashMap::new(), tensors: HashMap::new() }
    }

    /// Returns the tensor described by `record`. Equal views of a storage share one tensor, which keeps tied parameters
    /// tied.
    pub fn tensor(&mut self, record: &'k TensorRecord<'k>) -> Result<Tensor> {
        if let Some(tensor) = self.tensors.get(record) {
            return Ok(tensor.clone());
        }
        let key = record.storage.key;
        let views_left = self.views_left.entry(key).or_insert(1);
        *views_left = views_left.saturating_sub(1);
        let is_last_view = *views_left == 0;
        let elements = record.view.checked_element_count(record.storage.bytes / record.element.size())?;
        let bytes = record.element.tensor_bytes(elements);
        let is_only_view = is_last_view && !self.cached.contains_key(key);
        let tensor = if is_only_view && record.view.is_row_major() {
            // Also charge the budget for skipped bytes: skipping needs no memory, but it takes time.
            self.budget.spend_tensor(bytes.map(|bytes| bytes.max(record.storage.bytes)))?;
            self.stream(record, elements)?
        } else {
            self.budget.spend_tensor(bytes)?;
            let storage = self.storage(record, is_last_view)?;
            let source = Strided { storage: &storage, view: &record.view };
            record.element.tensor(source, &record.view.shape, self.device)?
        };
        self.tensors.insert(record, tensor.clone());
        Ok(tensor)
    }

    /// Reads a row-major view without holding its whole storage in memory.
    fn stream(&mut self, record: &TensorRecord, count: usize) -> Result<Tensor> {
        let mut reader = self.source.open(record.storage.key, record.storage.bytes)?;
        if count > 0 {
            let offset = record.view.offset * record.element.size();
            io::copy(&mut (&mut reader).take(offset as u64), &mut io::sink())?;
        }
        let source = Stream { reader: &mut reader, count };
        let tensor = record.element.tensor(source, &record.view.shape, self.device)?;
        // Read to the end, where the checksum is checked.
        io::copy(&mut reader, &mut io::sink())?;
        Ok(tensor)
    }

    /// Returns a whole storage. Keeps it until its last view is read.
    fn storage(&mut self, record: &'k TensorRecord<'k>, is_last_view: bool) -> Result<Rc<Vec<u8>>> {
        let storage = &record.storage;
        let bytes = match self.cached.remove(storage.key) {
            Some(bytes) if bytes.len() == storage.bytes => bytes,
            Some(bytes) => return Err(super::wrong_size(storage.key, storage.bytes, bytes.len() as u64)),
            None => Rc::new(self.read_storage(record)?),
        };
        if !is_last_view {
            self.cached.insert(storage.key, Rc::clone(&bytes));
        }
        Ok(bytes)
    }

    fn read_storage(&mut self, record: &TensorRecord) -> Result<Vec<u8>> {
        let storage = &record.storage;
        // Do not charge the budget for the storage of a widened tensor: `spend_tensor` has already charged two bytes
        // for each stored byte, and the budget allows no more than two bytes per byte of a file.
        if !record.element.is_widened() {
            self.budget.spend(Some(storage.bytes))?;
        }
        let mut reader = self.source.open(storage.key, storage.bytes)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(storage.bytes).map_err(Error::msg)?;
        reader.read_to_end(&mut bytes)?;
        if bytes.len() == storage.bytes { Ok(bytes) } else { Err(truncated()) }
    }
}
