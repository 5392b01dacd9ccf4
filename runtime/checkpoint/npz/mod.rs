//! NumPy's `.npz` format: a zip archive of `.npy` files, written by `numpy.savez` and `numpy.savez_compressed`.

mod header;
mod write;

use std::io::Read;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

use super::archive::Archive;
use super::budget::Budget;
use super::element::{Stream, element_count};
use super::input::truncated;
use super::strided::{Strided, View};
use super::{StateDict, with_context};

use header::Header;

pub(super) use write::{check, write};

const EXTENSION: &str = ".npy";

/// Returns `true` if the archive contains NumPy arrays.
pub(super) fn is_npz(archive: &Archive) -> bool {
    archive.names().any(|name| name.ends_with(EXTENSION))
}

/// Reads the arrays of the archive, ordered by name.
pub(super) fn read(mut archive: Archive, budget: &mut Budget, device: &Device) -> Result<StateDict> {
    let names: Vec<String> = archive.names().map(str::to_owned).collect();
    let mut state = StateDict::new();
    for entry in names {
        let Some(name) = entry.strip_suffix(EXTENSION) else {
            return Err(Error::msg(format!("expected arrays (`.npy`) in the archive, found `{entry}`")));
        };
        let size = archive.size(&entry)?.unwrap_or_default();
        let array = match archive.entry(&entry) {
            Ok(Some(mut reader)) => array(&mut reader, size, budget, device),
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        state.insert(name, with_context(format_args!("array `{name}`"), array)?);
    }
    Ok(state)
}

/// Reads the array of a `.npy` file of `size` bytes.
fn array(reader: &mut dyn Read, size: u64, budget: &mut Budget, device: &Device) -> Result<Tensor> {
    let Header { element, shape, column_major, length } = header::read(reader)?;
    let too_large = || Error::msg(format!("shape {shape:?} is too large for memory"));
    let count = element_count(&shape).ok_or_else(too_large)?;
    let bytes = count.checked_mul(element.size()).ok_or_else(too_large)?;
    if size.checked_sub(length) != Some(bytes as u64) {
        let found = size.saturating_sub(length);
        return Err(Error::msg(format!("expected {bytes} bytes for the shape {shape:?}, found {found}")));
    }
    // Spend the memory before decompressing: the declared size may be wrong, which shows only at the end of the data.
    budget.spend_tensor(element.tensor_bytes(count))?;
    if !column_major || shape.len() < 2 {
        return element.tensor(Stream { reader, count }, &shape, device);
    }
    // Do not charge the budget for the stored bytes of a widened array: `spend_tensor` has already charged two bytes
    // for each of them, and the budget allows no more than two bytes per byte of a file.
    if !element.is_widened() {
        budget.spend(Some(bytes))?;
    }
    let mut storage = Vec::with_capacity(bytes);
    reader.read_to_end(&mut storage)?;
    if storage.len() != bytes {
        return Err(truncated());
    }
    let view = View { offset: 0, strides: column_major_strides(&shape), shape };
    element.tensor(Strided { storage: &storage, view: &view }, &view.shape, device)
}

fn column_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut next = 1;
    let stride = |&length| {
        let stride = next;
        next *= length;
        stride
    };
    shape.iter().map(stride).collect()
}
