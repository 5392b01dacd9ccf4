//! The safetensors format: the header length, a JSON header of names, types, shapes and offsets, and the data.

mod family;
mod header;
mod read;
mod write;

pub(super) use family::write_family;
pub(super) use read::{metadata, read};
pub(super) use write::{check, write};

/// The reserved name of the metadata in the header.
const METADATA: &str = "__metadata__";

/// The size of the header length, in bytes.
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;
