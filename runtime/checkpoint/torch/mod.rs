//! Files of `torch.save`: a pickle that describes tensors, and their storages.
//!
//! [`pickle`] runs the pickle, and [`values`] stores the values that the pickle creates. [`globals`] resolves the
//! classes and functions that a pickle names, and [`call`] returns the results of calling them. [`select`] finds the
//! state dict, and [`skipped`] lists everything else. [`module`] collects the tensors of a pickled module. [`script`]
//! finds out which attributes of a TorchScript module are parameters and buffers.
//! [`archive`] and [`legacy`] read storages, and [`storages`] creates tensors from them.
//! [`write`] writes a file, and [`pickler`] its pickle.

mod archive;
mod call;
mod class;
mod dtype;
mod globals;
mod legacy;
mod module;
mod named;
mod opcode;
mod pickle;
mod pickler;
mod read;
mod script;
mod select;
mod skipped;
mod storages;
mod text;
mod values;
mod write;

use std::io::Read;

use candle_core::Device;

use crate::{Error, Result};

use super::archive::Archive;
use super::budget::Budget;
use super::input::Input;
use super::{Contents, with_context};

use archive::TorchArchive;
use pickle::Pickle;
use script::ScriptClasses;
use select::Selection;
use skipped::unsupported_tensor;
use storages::TensorReader;
use values::Value;

pub(super) use archive::prefix;
pub(super) use write::{check, write};

/// Reads a zip archive whose entries begin with `prefix`. If `key` is given, searches only the entry `key` for
/// the state dict.
pub(super) fn read_zip(
    archive: Archive,
    prefix: String,
    key: Option<&str>,
    budget: &mut Budget,
    device: &Device,
) -> Result<Contents> {
    let mut archive = TorchArchive::new(archive, prefix, budget)?;
    let description = archive.description(budget)?;
    let pickle = with_context("data.pkl", Pickle::load(&description, budget))?;
    let classes = ScriptClasses::read(&pickle.values, &mut archive, budget)?;
    read_tensors(&pickle, &classes, key, archive, budget, device)
}

/// Reads a file in the format before PyTorch 1.6. If `key` is given, searches only the entry `key` for the state
/// dict.
pub(super) fn read_legacy(
    mut input: Input,
    key: Option<&str>,
    budget: &mut Budget,
    device: &Device,
) -> Result<Contents> {
    let pickles = legacy::pickles(&mut input, budget)?;
    let description = legacy::Description::load(&pickles, budget)?;
    let storages = legacy::LegacyStorages::locate(input, &description)?;
    read_tensors(&description.object, &ScriptClasses::default(), key, storages, budget, device)
}

/// Runs a pickle and discards the result.
pub(super) fn check_pickle(bytes: &[u8], budget: &mut Budget) -> Result<()> {
    Pickle::load(bytes, budget).map(drop)
}

/// The storages of a file.
trait Storages {
    /// Returns a reader of the storage `key`, or an error if its length is not `expected` bytes.
    fn open(&mut self, key: &str, expected: usize) -> Result<Box<dyn Read + '_>>;
}

/// Reads the tensors of the state dict.
fn read_tensors(
    pickle: &Pickle<'_>,
    classes: &ScriptClasses,
    key: Option<&str>,
    source: impl Storages,
    budget: &mut Budget,
    device: &Device,
) -> Result<Contents> {
    let Selection { tensors, skipped, warnings, ambiguity } =
        select::state_dict(pickle, classes, key, budget)?;
    let records = tensors.iter().filter_map(|&(_, tensor)| pickle.values.tensor_record(tensor).ok());
    let mut reader = TensorReader::new(source, records, budget, device);
    let mut contents = Contents { skipped, warnings, ambiguity, ..Contents::default() };
    for (name, tensor) in &tensors {
        if let Value::UnsupportedTensor(kind) = tensor {
            contents.push_unsupported(name.clone(), unsupported_tensor(kind));
            continue;
        }
        let tensor = pickle.values.tensor_record(*tensor).and_then(|record| reader.tensor(record));
        contents.state.insert(name, with_context(format_args!("tensor `{name}`"), tensor)?);
    }
    Ok(contents)
}

fn wrong_size(key: &str, expected: usize, found: u64) -> Error {
    Error::msg(format!("expected {expected} bytes in storage `{key}`, found {found}"))
}
