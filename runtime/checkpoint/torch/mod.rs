//! What `torch.save` writes: a pickle that describes tensors, and the storages that they look into.
//!
//! [`pickle`] reads the description onto a [`heap`], with the few names of [`globals`]; [`select`]
//! finds the state dict in it; [`archive`] and [`legacy`] hand out the bytes of a storage; [`storages`]
//! makes tensors of them.

mod archive;
mod globals;
mod heap;
mod legacy;
mod pickle;
mod read;
mod select;
mod storages;

use std::io::Read;

use candle_core::Device;

use super::archive::Archive;
use super::budget::Budget;
use super::input::Input;
use super::{StateDict, within};
use crate::{Error, Result};
use archive::TorchArchive;
pub(super) use archive::prefix;
use pickle::Pickle;
use storages::Maker;

/// Reads a zip archive whose entries begin with `prefix`. With `key`, what is under that key of it.
pub(super) fn read_zip(
    archive: Archive,
    prefix: String,
    key: Option<&str>,
    mut budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let mut archive = TorchArchive::new(archive, prefix, &mut budget)?;
    let description = archive.description(&mut budget)?;
    let pickle = within("data.pkl", Pickle::load(&description, &mut budget))?;
    assemble(&pickle, key, archive, budget, device)
}

/// Reads a file of the format before PyTorch 1.6. With `key`, what is under that key of it.
pub(super) fn read_legacy(
    mut input: Input,
    key: Option<&str>,
    mut budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let pickles = legacy::pickles(&mut input, &mut budget)?;
    let description = legacy::Description::load(&pickles, &mut budget)?;
    let storages = legacy::Legacy::locate(input, &description)?;
    assemble(&description.object, key, storages, budget, device)
}

/// Whether a pickle runs to its end.
pub(super) fn check_pickle(bytes: &[u8], budget: &mut Budget) -> Result<()> {
    Pickle::load(bytes, budget).map(drop)
}

/// Where the bytes of storages come from.
trait Storages {
    /// A reader of the storage `key`, whose bytes must be as many as the pickle says.
    fn open(&mut self, key: &str, expected: usize) -> Result<Box<dyn Read + '_>>;
}

/// Makes the tensors of the state dict.
fn assemble(
    pickle: &Pickle<'_>,
    key: Option<&str>,
    source: impl Storages,
    budget: Budget,
    device: &Device,
) -> Result<StateDict> {
    let entries = select::state_dict(pickle, key)?;
    let mut maker = Maker::new(source, entries.iter().map(|(_, record)| *record), budget, device);
    let mut state = StateDict::new();
    for (name, record) in &entries {
        state.insert(*name, within(format_args!("tensor `{name}`"), maker.tensor(record))?);
    }
    Ok(state)
}

fn wrong_size(key: &str, expected: usize, found: u64) -> Error {
    Error::msg(format!("expected {expected} bytes in storage `{key}`, got {found}"))
}
