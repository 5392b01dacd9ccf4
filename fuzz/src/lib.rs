//! What the fuzz targets share: what must hold of tensors that were read, and archives around an input.

use std::collections::HashSet;
use std::io::{Cursor, Write};

use sconce::Result;
use sconce::candle::DType;
use sconce::checkpoint::StateDict;
use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Of a file of `length` bytes an error is as good an answer as tensors; these must be sound: every value
/// is there to be read, and there are not more of them than the reader allows such a file.
pub fn check(read: Result<StateDict>, length: usize) {
    let Ok(state) = read else { return };
    let mut seen = HashSet::new();
    let mut total = 0;
    for (name, tensor) in &state {
        // Tied parameters are one tensor.
        if tensor.elem_count() == 0 || !seen.insert(tensor.id()) {
            continue;
        }
        total += tensor.elem_count() * tensor.dtype().size_in_bytes();
        // candle's conversion of an 8-bit float never returns for some values.
        if tensor.dtype() != DType::F8E4M3 {
            let sum = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.sum_all());
            sum.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(total <= 2 * length + (8 << 20), "{total} bytes of tensors from a file of {length}");
}

/// Whether the input is to be read as an archive as it is.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// A valid archive of these entries. Their checksums are right, which those of a changed archive are not.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    pack(entries).expect("an archive in memory can be written")
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
