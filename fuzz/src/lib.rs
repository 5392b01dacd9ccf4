//! Helpers for the fuzz targets: they check the tensors that a reader returns, pack inputs into archives, and generate
//! files from inputs.

pub mod generate;
mod memory;
pub mod pickle;
pub mod zip_archive;

use std::collections::HashSet;
use std::io::{Cursor, Write};

use arbitrary::Unstructured;
use sconce::Result;
use sconce::candle::DType;
use sconce::checkpoint::StateDict;
use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};

/// The memory, in bytes, that reading may need in addition to the limit in `SECURITY.md`: buffers, and what the
/// libraries allocate when they are first used.
const SLACK: usize = 1 << 18;

/// Reads `file`. Errors are allowed. All values of the tensors must be readable, and the peak memory must not exceed
/// the limit for a file of this length.
pub fn check(file: &[u8], read: impl FnOnce(&[u8]) -> Result<StateDict>) {
    check_with_length(file.len(), || read(file));
}

/// Like [`check`], for several files with a total of `length` bytes.
pub fn check_with_length(length: usize, read: impl FnOnce() -> Result<StateDict>) {
    let (outcome, peak) = memory::peak(read);
    let limit = 2 * length + (8 << 20) + SLACK;
    assert!(
        peak <= limit,
        "expected at most {limit} bytes of memory for {length} bytes of files, found {peak}"
    );
    let Ok(state) = outcome else { return };
    let mut seen = HashSet::new();
    for (name, tensor) in &state {
        // Read tied parameters once. Skip `F8E4M3`, because candle's conversion of it to `F64` recurses endlessly.
        if tensor.elem_count() == 0 || !seen.insert(tensor.id()) || tensor.dtype() == DType::F8E4M3 {
            continue;
        }
        let sum = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.sum_all());
        sum.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Returns `true` if the input starts like a zip archive.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Returns a valid archive of `entries`, with correct checksums.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    pack(entries).expect("writing an archive to memory should succeed")
}

fn pack(entries: &[(&str, &[u8])]) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in entries {
        zip.start_file(*name, stored)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Reads a number from 1 to `count` from the input. Returns `true` if the number is `count`, which has a probability of
/// one in `count` for random inputs. Returns `false` at the end of the input.
pub(crate) fn rarely(u: &mut Unstructured, count: u8) -> arbitrary::Result<bool> {
    Ok(u.int_in_range(1..=count)? == count)
}
