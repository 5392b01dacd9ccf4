//! Builds zip archives from the bytes of a fuzzer.
//!
//! Most checksums are correct, so that a reader does not stop at the first entry. A header may contradict the data.

use std::cell::RefCell;

use arbitrary::{Result, Unstructured};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::rarely;

/// The content of a 32-bit field whose value is in a zip64 extra field or record.
const IN_ZIP64: u32 = u32::MAX;

/// The data and the header fields of an entry.
struct Entry<'e> {
    name: &'e str,
    data: Vec<u8>,
    method: u16,
    flags: u16,
    checksum: u32,
    compressed: u64,
    size: u64,
    offset: u64,
    /// Whether the sizes and the offset are in the zip64 extra field.
    is_large: bool,
}

/// Returns an archive of `entries`. Some of the entries are compressed, and some of the headers are wrong.
pub fn archive(u: &mut Unstructured, entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut written = Vec::new();
    for (name, content) in entries {
        let mut entry = entry(u, name, content)?;
        entry.offset = archive.len() as u64;
        local_header(&mut archive, &entry);
        damage(u, &mut entry)?;
        written.push(entry);
    }
    // The central directory can list the entries in another order than their data.
    if rarely(u, 16)? && !written.is_empty() {
        let last = written.len() - 1;
        written.swap(0, last);
    }
    directory(u, &mut archive, &written)?;
    Ok(archive)
}

fn entry<'e>(u: &mut Unstructured, name: &'e str, content: &[u8]) -> Result<Entry<'e>> {
    let mut crc = Crc::new();
    crc.update(content);
    let is_deflated = rarely(u, 3)?;
    let data = if is_deflated { deflated(content) } else { content.to_vec() };
    Ok(Entry {
        name,
        method: if is_deflated { 8 } else { 0 },
        flags: 0,
        checksum: crc.sum(),
        compressed: data.len() as u64,
        size: content.len() as u64,
        offset: 0,
        is_large: rarely(u, 8)?,
        data,
    })
}

thread_local! {
    /// Used for all entries, because creating a compressor takes longer than reading an archive.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

fn deflated(content: &[u8]) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        // Data that cannot be compressed grows by less than an eighth and a constant.
        let mut compressed = Vec::with_capacity(content.len() + content.len() / 8 + 128);
        let status = compressor.compress_vec(content, &mut compressed, FlushCompress::Finish);
        assert!(matches!(status, Ok(Status::StreamEnd)), "the buffer should hold the compressed data");
        compressed
    })
}

/// Changes a field of the entry's record in the central directory, in some cases.
fn damage(u: &mut Unstructured, entry: &mut Entry) -> Result<()> {
    if !rarely(u, 16)? {
        return Ok(());
    }
    let value: u64 = if u.arbitrary()? { u.arbitrary()? } else { u.int_in_range(0..=64)? };
    match u.int_in_range(0..=5)? {
        0 => entry.method = value as u16,
        1 => entry.flags = value as u16,
        2 => entry.checksum = value as u32,
        3 => entry.compressed = value,
        4 => entry.size = value,
        _ => entry.offset = value,
    }
    Ok(())
}

fn local_header(archive: &mut Vec<u8>, entry: &Entry) {
    archive.extend(b"PK\x03\x04\x14\0");
    archive.extend(entry.flags.to_le_bytes());
    archive.extend(entry.method.to_le_bytes());
    archive.extend([0; 4]);
    archive.extend(entry.checksum.to_le_bytes());
    archive.extend((entry.compressed as u32).to_le_bytes());
    archive.extend((entry.size as u32).to_le_bytes());
    archive.extend((entry.name.len() as u16).to_le_bytes());
    archive.extend([0; 2]);
    archive.extend(entry.name.as_bytes());
    archive.extend(&entry.data);
}

/// Appends the central directory, the zip64 records in some cases, and the end record.
fn directory(u: &mut Unstructured, archive: &mut Vec<u8>, entries: &[Entry]) -> Result<()> {
    let start = archive.len() as u64;
    for entry in entries {
        record(archive, entry);
    }
    let length = archive.len() as u64 - start;
    let count = entries.len() as u64;
    let is_large = rarely(u, 8)?;
    if is_large {
        let position = archive.len() as u64;
        archive.extend(b"PK\x06\x06");
        archive.extend(44u64.to_le_bytes());
        archive.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for field in [count, count, length, start] {
            archive.extend(field.to_le_bytes());
        }
        archive.extend(b"PK\x06\x07\0\0\0\0");
        archive.extend(position.to_le_bytes());
        archive.extend(1u32.to_le_bytes());
    }
    let field = |value: u64| if is_large { IN_ZIP64 } else { value as u32 };
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend((field(count) as u16).to_le_bytes());
    archive.extend((field(count) as u16).to_le_bytes());
    archive.extend(field(length).to_le_bytes());
    archive.extend(field(start).to_le_bytes());
    archive.extend([0; 2]);
    Ok(())
}

/// Appends the central directory's record of an entry.
fn record(archive: &mut Vec<u8>, entry: &Entry) {
    let fields = [entry.size, entry.compressed, entry.offset];
    let mut extra = Vec::new();
    if entry.is_large {
        extra.extend([1, 0, 24, 0]);
        fields.iter().for_each(|field| extra.extend(field.to_le_bytes()));
    }
    let [size, compressed, offset] = fields.map(|field| if entry.is_large { IN_ZIP64 } else { field as u32 });
    archive.extend(b"PK\x01\x02\x14\0\x14\0");
    archive.extend(entry.flags.to_le_bytes());
    archive.extend(entry.method.to_le_bytes());
    archive.extend([0; 4]);
    archive.extend(entry.checksum.to_le_bytes());
    archive.extend(compressed.to_le_bytes());
    archive.extend(size.to_le_bytes());
    archive.extend((entry.name.len() as u16).to_le_bytes());
    archive.extend((extra.len() as u16).to_le_bytes());
    archive.extend([0; 10]);
    archive.extend(offset.to_le_bytes());
    archive.extend(entry.name.as_bytes());
    archive.extend(extra);
}
