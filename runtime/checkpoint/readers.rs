//! Entry points for fuzzing: each function applies one reader to bytes. Not part of the public API.

use std::io::Cursor;

use candle_core::Device;

use crate::{Error, Result};

use super::archive::Archive;
use super::budget::Budget;
use super::input::Input;
use super::{Contents, ReadOptions, Skipped, StateDict, npz, safetensors, torch};

fn from_bytes<T>(bytes: &[u8], read: impl FnOnce(Input, Budget) -> Result<T>) -> Result<T> {
    let length = bytes.len();
    let mut file = Cursor::new(bytes);
    read(Input::new(&mut file, length as u64), Budget::new(length, None))
}

/// Reads any format except an index.
///
/// # Errors
///
/// Fails if the bytes are not a valid file of a supported format.
pub fn any(bytes: &[u8]) -> Result<StateDict> {
    contents(bytes).and_then(Contents::into_state)
}

/// Reads any format except an index. Returns a list of the skipped objects and of the tensors that candle cannot
/// represent, and the warnings.
///
/// # Errors
///
/// Fails if the bytes are not a valid file of a supported format.
pub fn skipped(bytes: &[u8]) -> Result<(Vec<Skipped>, Vec<String>)> {
    let Contents { mut skipped, unsupported, warnings, .. } = contents(bytes)?;
    skipped.extend(unsupported);
    Ok((skipped, warnings))
}

fn contents(bytes: &[u8]) -> Result<Contents> {
    let length = bytes.len() as u64;
    ReadOptions::default().read_file(&mut Cursor::new(bytes), length, None, &Device::Cpu)
}

/// Reads a safetensors file.
///
/// # Errors
///
/// Fails if the bytes are not a valid safetensors file.
pub fn safetensors(bytes: &[u8]) -> Result<StateDict> {
    let contents = from_bytes(bytes, |input, mut budget| safetensors::read(input, &mut budget, &Device::Cpu));
    contents.and_then(Contents::into_state)
}

/// Reads a zip archive of `torch.save`.
///
/// # Errors
///
/// Fails if the bytes are not a valid archive of `torch.save`.
pub fn torch_zip(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, mut budget| {
        let archive = Archive::open(input, &mut budget)?;
        let prefix = torch::prefix(&archive).ok_or_else(|| Error::msg("no `data.pkl`"))?;
        torch::read_zip(archive, prefix, None, &mut budget, &Device::Cpu).and_then(Contents::into_state)
    })
}

/// Reads a file that `torch.save` wrote before PyTorch 1.6.
///
/// # Errors
///
/// Fails if the bytes are not a valid file of `torch.save`.
pub fn torch_legacy(bytes: &[u8]) -> Result<StateDict> {
    let contents =
        from_bytes(bytes, |input, mut budget| torch::read_legacy(input, None, &mut budget, &Device::Cpu));
    contents.and_then(Contents::into_state)
}

/// Reads an `.npz` archive.
///
/// # Errors
///
/// Fails if the bytes are not a valid `.npz` archive.
pub fn npz(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, mut budget| {
        let archive = Archive::open(input, &mut budget)?;
        npz::read(archive, &mut budget, &Device::Cpu)
    })
}

/// Runs a pickle such as `data.pkl`. Returns its error, or `None` on success.
pub fn pickle(bytes: &[u8]) -> Option<Error> {
    torch::check_pickle(bytes, &mut Budget::new(bytes.len(), None)).err()
}

/// Reads a sharded checkpoint, given its index. The shards are in `directory`.
///
/// # Errors
///
/// Fails if the bytes are not a valid index, or if one of its shards cannot be read or lacks a tensor.
pub fn index(bytes: &[u8], directory: &std::path::Path) -> Result<StateDict> {
    from_bytes(bytes, |input, _| {
        super::sharded::read(input, directory, &ReadOptions::default(), &Device::Cpu)
    })
    .and_then(Contents::into_state)
}
