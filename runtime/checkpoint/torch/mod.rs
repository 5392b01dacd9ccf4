//! Files of `torch.save`: a pickle that describes tensors, and their storages.
//!
//! [`pickle`] runs the pickle and puts its objects on a [`heap`]; [`globals`] has the classes and functions that a
//! pickle may name. [`select`] finds the state dict. [`archive`] and [`legacy`] read storages, and [`storages`] creates
//! tensors from them. [`write`] writes a file, and [`pickler`] its pickle.

mod archive;
mod globals;
mod heap;
mod legacy;
mod opcode;
mod pickle;
mod pickler;
mod read;
mod select;
mod storages;
mod write;

use std::io::Read;

use candle_core::Device;

use crate::{Error, Result};

use super::archive::Archive;
use super::budget::Budget;
use super::input::Input;
use super::{StateDict, with_context};

use archive::TorchArchive;
use pickle::Pickle;
use storages::TensorReader;

pub(super) use archive::prefix;
pub(super) use write::{check, write};

/// Reads a zip archive whose entries begin with `prefix`. If `key` is given, searches only the entry `key` for
/// the state dict.
pub(super) fn read_zip(
    archive: Archive,
    prefix: String,
    key: Option<&str>,
    mut budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let mut archive = TorchArchive::new(archive, prefix, &mut budget)?;
    let description = archive.description(&mut budget)?;
    let pickle = with_context("data.pkl", Pickle::load(&description, &mut budget))?;
    read_tensors(&pickle, key, archive, budget, device)
}

/// Reads a file in the format before PyTorch 1.6. If `key` is given, searches only the entry `key` for the state
/// dict.
pub(super) fn read_legacy(
    mut input: Input,
    key: Option<&str>,
    mut budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let pickles = legacy::pickles(&mut input, &mut budget)?;
    let description = legacy::Description::load(&pickles, &mut budget)?;
    let storages = legacy::LegacyStorages::locate(input, &description)?;
    read_tensors(&description.object, key, storages, budget, device)
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
    key: Option<&str>,
    source: impl Storages,
    budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let entries = select::state_dict(pickle, key)?;
    let mut reader = TensorReader::new(source, entries.iter().map(|(_, record)| *record), budget, device);
    let mut state = StateDict::new();
    for (name, record) in &entries {
        state.insert(*name, with_context(format_args!("tensor `{name}`"), reader.tensor(record))?);
    }
    Ok(state)
}

fn wrong_size(key: &str, expected: usize, found: u64) -> Error {
    Error::msg(format!("expected {expected} bytes in storage `{key}`, found {found}"))
}
