//! The zip container of today's `torch.save`.
//!
//! Bytes that begin as an archive are read as they are, which tries the archive's own structure. An
//! entry's checksum would stop nearly all changes of its content, so other bytes are packed into a valid
//! archive first: two bytes with the length of the pickle, the pickle, and what is left as storage `0`.
#![no_main]

use std::io::{Cursor, Write};

use libfuzzer_sys::{Corpus, fuzz_target};
use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.starts_with(b"PK\x03\x04") {
        sconce_fuzz::read(bytes);
        return Corpus::Keep;
    }
    let Some(([low, high], rest)) = bytes.split_first_chunk() else {
        return Corpus::Reject;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (pickle, storage) = rest.split_at(length);
    sconce_fuzz::read(&archive(pickle, storage).expect("an archive in memory can be written"));
    Corpus::Keep
});

fn archive(pickle: &[u8], storage: &[u8]) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("archive/data.pkl", pickle), ("archive/data/0", storage)] {
        zip.start_file(name, stored)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}
