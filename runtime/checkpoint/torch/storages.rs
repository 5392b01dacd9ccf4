//! From storages to tensors: each storage is read once, straight into its tensor where it has but one.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::Storages;
use super::heap::TensorRecord;
use crate::checkpoint::budget::Budget;
use crate::checkpoint::element::Stream;
use crate::checkpoint::input::cut_short;
use crate::checkpoint::strided::Strided;
use crate::{Error, Result};

/// Makes tensors of a file's storages.
pub(super) struct Maker<'k, 'd, Source> {
    source: Source,
    budget: Budget,
    device: &'d Device,
    /// How many views of each storage there are still to come.
    uses: HashMap<&'k str, usize>,
    /// Storages with several views, until the last of these.
    held: HashMap<&'k str, Rc<Vec<u8>>>,
    made: HashMap<&'k TensorRecord<'k>, Tensor>,
}

impl<'k, 'd, Source: Storages> Maker<'k, 'd, Source> {
    /// Of `records`, each of which may then be asked for.
    pub fn new(
        source: Source,
        records: impl Iterator<Item = &'k TensorRecord<'k>>,
        budget: Budget,
        device: &'d Device,
    ) -> Self {
        let distinct: HashSet<_> = records.collect();
        let mut uses = HashMap::new();
        for record in distinct {
            *uses.entry(record.storage.key).or_default() += 1;
        }
        Self { source, budget, device, uses, held: HashMap::new(), made: HashMap::new() }
    }

    /// The tensor of `record`; the same view of the same storage is the same tensor, so that tied
    /// parameters stay tied.
    pub fn tensor(&mut self, record: &'k TensorRecord<'k>) -> Result<Tensor> {
        if let Some(tensor) = self.made.get(record) {
            return Ok(tensor.clone());
        }
        let key = record.storage.key;
        let uses = self.uses.entry(key).or_insert(1);
        *uses = uses.saturating_sub(1);
        let last = *uses == 0;
        let elements = record.view.elements(record.storage.bytes / record.element.size())?;
        let bytes = record.element.tensor_bytes(elements);
        let alone = last && !self.held.contains_key(key);
        let tensor = if alone && record.view.is_row_major() {
            // What is skipped takes time, if no memory.
            self.budget.spend_tensor(bytes.map(|bytes| bytes.max(record.storage.bytes)))?;
            self.streamed(record, elements)?
        } else {
            self.budget.spend_tensor(bytes)?;
            let storage = self.storage(record, last)?;
            let source = Strided { storage: &storage, view: &record.view };
            record.element.tensor(source, &record.view.shape, self.device)?
        };
        self.made.insert(record, tensor.clone());
        Ok(tensor)
    }

    /// A row-major view, read without its storage ever being in memory.
    fn streamed(&mut self, record: &TensorRecord, count: usize) -> Result<Tensor> {
        let mut reader = self.source.open(record.storage.key, record.storage.bytes)?;
        if count > 0 {
            let before = record.view.offset * record.element.size();
            io::copy(&mut (&mut reader).take(before as u64), &mut io::sink())?;
        }
        let source = Stream { reader: &mut reader, count };
        let tensor = record.element.tensor(source, &record.view.shape, self.device)?;
        // The checksum comes at the end.
        io::copy(&mut reader, &mut io::sink())?;
        Ok(tensor)
    }

    /// A whole storage, kept until the last of its views.
    fn storage(&mut self, record: &'k TensorRecord<'k>, last: bool) -> Result<Rc<Vec<u8>>> {
        let storage = &record.storage;
        let bytes = match self.held.remove(storage.key) {
            Some(bytes) if bytes.len() == storage.bytes => bytes,
            Some(bytes) => return Err(super::wrong_size(storage.key, storage.bytes, bytes.len() as u64)),
            None => Rc::new(self.whole(record)?),
        };
        if !last {
            self.held.insert(storage.key, Rc::clone(&bytes));
        }
        Ok(bytes)
    }

    fn whole(&mut self, record: &TensorRecord) -> Result<Vec<u8>> {
        let storage = &record.storage;
        // Widened tensors have used the budget up, and must not be an error for it.
        if !record.element.is_widened() {
            self.budget.spend(Some(storage.bytes))?;
        }
        let mut reader = self.source.open(storage.key, storage.bytes)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(storage.bytes).map_err(Error::msg)?;
        reader.read_to_end(&mut bytes)?;
        if bytes.len() == storage.bytes { Ok(bytes) } else { Err(cut_short()) }
    }
}
