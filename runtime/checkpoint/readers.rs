//! One entry for each reader, from bytes: what fuzzing drives. Not part of the public interface.

use std::io::Cursor;

use candle_core::Device;

use super::archive::Archive;
use super::budget::Budget;
use super::input::Input;
use super::{ReadOptions, StateDict, npz, safetensors, torch};
use crate::{Error, Result};

fn from_bytes<T>(bytes: &[u8], read: impl FnOnce(Input, Budget) -> Result<T>) -> Result<T> {
    let length = bytes.len();
    let mut file = Cursor::new(bytes);
    read(Input::new(&mut file, length as u64), Budget::new(length, None))
}

/// Any format but an index, told by its first bytes.
pub fn any(bytes: &[u8]) -> Result<StateDict> {
    let length = bytes.len() as u64;
    ReadOptions::default().read_file(&mut Cursor::new(bytes), length, None, &Device::Cpu)
}

pub fn safetensors(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, mut budget| safetensors::read(input, &mut budget, &Device::Cpu))
}

pub fn torch_zip(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, mut budget| {
        let archive = Archive::open(input, &mut budget)?;
        let prefix = torch::prefix(&archive).ok_or_else(|| Error::msg("no `data.pkl`"))?;
        torch::read_zip(archive, prefix, None, budget, &Device::Cpu)
    })
}

pub fn torch_legacy(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, budget| torch::read_legacy(input, None, budget, &Device::Cpu))
}

pub fn npz(bytes: &[u8]) -> Result<StateDict> {
    from_bytes(bytes, |input, mut budget| {
        let archive = Archive::open(input, &mut budget)?;
        npz::read(archive, budget, &Device::Cpu)
    })
}

/// A pickle alone, as `data.pkl` has it; `None` where it ran to its end.
pub fn pickle(bytes: &[u8]) -> Option<Error> {
    torch::check_pickle(bytes, &mut Budget::new(bytes.len(), None)).err()
}

/// The index of a sharded checkpoint whose shards lie in `directory`.
pub fn index(bytes: &[u8], directory: &std::path::Path) -> Result<StateDict> {
    from_bytes(bytes, |input, _| {
        super::sharded::read(input, directory, &ReadOptions::default(), &Device::Cpu)
    })
}
