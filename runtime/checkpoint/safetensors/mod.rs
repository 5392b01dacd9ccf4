//! The safetensors format: a JSON header of names, types, shapes and offsets, then the data.

mod read;
mod write;

pub(super) use read::{metadata, read};
pub(super) use write::write;

/// The name under which the header keeps what is no tensor.
const METADATA: &str = "__metadata__";

/// The file begins with the header's length, as so many bytes.
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;
