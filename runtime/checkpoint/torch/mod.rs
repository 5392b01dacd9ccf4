//! What `torch.save` writes: a pickle that describes tensors, and the storages that they look into.
//!
//! [`pickle`] reads the description onto a [`heap`], with the few names of [`globals`]; [`select`]
//! finds the state dict in it; [`zip`] and [`legacy`] hand out the bytes of a storage; [`strided`] puts
//! them in order.

mod globals;
mod heap;
mod legacy;
mod pickle;
mod select;
mod strided;
mod zip;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::{StateDict, within};
use crate::{Error, Result};
use heap::TensorRecord;
use pickle::Pickle;

/// Reads a zip archive of `length` bytes.
pub(super) fn read_zip(file: impl Read + Seek, length: usize, device: &Device) -> Result<StateDict> {
    let mut archive = zip::Archive::open(file, length)?;
    let description = archive.description()?;
    let pickle = within("data.pkl", Pickle::load(&description))?;
    assemble(&pickle, archive, Budget::new(length), device)
}

/// Reads a whole file of the format before PyTorch 1.6.
pub(super) fn read_legacy(file: &[u8], device: &Device) -> Result<StateDict> {
    let (pickle, storages) = legacy::open(file)?;
    assemble(&pickle, storages, Budget::new(file.len()), device)
}

/// Where the bytes of storages come from.
trait Storages<'a> {
    /// The bytes of the storage `key`, which must be as many as the pickle says.
    fn bytes(&mut self, key: &str, expected: usize) -> Result<Cow<'a, [u8]>>;
}

/// Makes the tensors of the state dict; one storage at a time is in memory, or few if they are shared.
fn assemble<'a>(
    pickle: &Pickle<'_>,
    mut source: impl Storages<'a>,
    mut budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let entries = select::state_dict(pickle)?;
    let mut storages = Shared::new(entries.iter().map(|(_, record)| *record));
    // Tied parameters stay tied: the same view of the same storage is the same tensor.
    let mut made = HashMap::<&TensorRecord, Tensor>::new();
    let mut state = StateDict::new();
    for (name, record) in entries {
        let place = format_args!("tensor `{name}`").to_string();
        let bytes = within(&place, storages.take(record, &mut source, &mut budget))?;
        let tensor = match made.get(record) {
            Some(tensor) => tensor.clone(),
            None => within(&place, tensor(record, &bytes, &mut budget, device))?,
        };
        made.insert(record, tensor.clone());
        state.insert(name, tensor);
    }
    Ok(state)
}

fn tensor(record: &TensorRecord, storage: &[u8], budget: &mut Budget, device: &Device) -> Result<Tensor> {
    let elements = record.view.elements(storage.len() / record.element.size())?;
    budget.spend(elements.checked_mul(record.element.dtype().size_in_bytes()))?;
    let bytes = record.view.row_major(storage, record.element.size())?;
    record.element.tensor(&bytes, &record.view.shape, device)
}

/// Storages that are read once and let go after the last tensor that looks into them.
struct Shared<'k, 'a> {
    uses: HashMap<&'k str, usize>,
    bytes: HashMap<&'k str, Rc<Cow<'a, [u8]>>>,
}

impl<'k, 'a> Shared<'k, 'a> {
    fn new(records: impl Iterator<Item = &'k TensorRecord<'k>>) -> Self {
        let mut uses = HashMap::new();
        for record in records {
            *uses.entry(record.storage.key).or_default() += 1;
        }
        Self { uses, bytes: HashMap::new() }
    }

    /// The storage of one tensor, to be asked for once a tensor.
    fn take(
        &mut self,
        record: &'k TensorRecord<'k>,
        source: &mut impl Storages<'a>,
        budget: &mut Budget,
    ) -> Result<Rc<Cow<'a, [u8]>>> {
        let storage = record.storage;
        let bytes = match self.bytes.remove(storage.key) {
            Some(bytes) if bytes.len() == storage.bytes => bytes,
            Some(bytes) => return Err(wrong_size(storage.key, storage.bytes, bytes.len())),
            None => {
                budget.spend(Some(storage.bytes))?;
                Rc::new(source.bytes(storage.key, storage.bytes)?)
            }
        };
        if let Some(uses) = self.uses.get_mut(storage.key) {
            *uses -= 1;
            if *uses > 0 {
                self.bytes.insert(storage.key, Rc::clone(&bytes));
            }
        }
        Ok(bytes)
    }
}

fn wrong_size(key: &str, expected: usize, found: usize) -> Error {
    Error::msg(format!("expected {expected} bytes in storage `{key}`, got {found}"))
}

/// How much memory a file of a given length may ask for: views that overlap and archive entries that
/// share their bytes could else turn a small file into a full memory.
struct Budget {
    allowed: usize,
    left: usize,
}

impl Budget {
    /// One for the storages, one for the tensors or eight where bytes become `i64`, and room to spare.
    const PER_BYTE: usize = 16;

    /// Small files may repeat what they have: an expanded mask, say.
    const ANYWAY: usize = 1 << 20;

    fn new(length: usize) -> Self {
        let allowed = length.saturating_mul(Self::PER_BYTE).saturating_add(Self::ANYWAY);
        Self { allowed, left: allowed }
    }

    /// Takes off `bytes`, which is none where counting them overflowed.
    fn spend(&mut self, bytes: Option<usize>) -> Result<()> {
        let left = bytes.and_then(|bytes| self.left.checked_sub(bytes)).ok_or_else(|| {
            let allowed = self.allowed;
            Error::msg(format!(
                "expected tensors of at most {allowed} bytes in a file of this length, got more"
            ))
        })?;
        self.left = left;
        Ok(())
    }
}
