//! Helpers for the fuzz targets, which check the tensors that a reader returns and pack inputs into archives.

use std::collections::HashSet;
use std::io::{Cursor, Write};

use sconce::Result;
use sconce::candle::DType;
use sconce::checkpoint::StateDict;
use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Checks the result of reading a file of `length` bytes. Errors are allowed. All values of the tensors must be
/// readable, and their total size must not exceed the reader's limit for the file.
pub fn check(read: Result<StateDict>, length: usize) {
    let Ok(state) = read else { return };
    let mut seen = HashSet::new();
    let mut total = 0;
    for (name, tensor) in &state {
        // Count tied parameters once.
        if tensor.elem_count() == 0 || !seen.insert(tensor.id()) {
            continue;
        }
        total += tensor.elem_count() * tensor.dtype().size_in_bytes();
        // candle's conversion of 8-bit floats does not terminate for some values.
        if tensor.dtype() != DType::F8E4M3 {
            let sum = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.sum_all());
            sum.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(total <= 2 * length + (8 << 20), "{total} bytes of tensors from a file of {length}");
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
