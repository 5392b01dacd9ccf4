//! The central directory of a zip archive.
//!
//! A zip archive consists of three parts:
//!
//! 1. the entries, each with a local header before its data;
//! 2. the central directory (below: the directory), with one record for each entry;
//! 3. the end record, which contains the position of the directory.
//!
//! If a position or a length needs 64 bits, a zip64 end record and its locator lie between the directory and the end
//! record.

use crate::{Error, Result};

use super::super::input::Input;

/// The position and the length of the directory in the file, in bytes.
pub(super) struct Extent {
    pub start: u64,
    pub length: u64,
}

/// The signature of the end record.
pub(super) const END: &[u8] = b"PK\x05\x06";
/// The length of the end record without its comment, in bytes.
const END_LENGTH: usize = 22;
/// The signature of the zip64 end record.
pub(super) const END_64: &[u8] = b"PK\x06\x06";
/// The length of the zip64 end record, in bytes.
const END_64_LENGTH: u64 = 56;
/// The signature of the locator: the record that contains the position of the zip64 end record.
pub(super) const LOCATOR_64: &[u8] = b"PK\x06\x07";
/// The length of the locator, in bytes.
const LOCATOR_64_LENGTH: u64 = 20;
/// The signature of an entry's record in the directory.
pub(super) const RECORD: &[u8] = b"PK\x01\x02";
/// The length of an entry's record without the name, the extra field and the comment, in bytes.
const RECORD_LENGTH: usize = 46;

/// The length of an entry's local header without the name and the extra field, in bytes.
pub(super) const HEADER_LENGTH: u64 = 30;

/// The content of a 32-bit field whose value needs 64 bits. The value is stored in the zip64 end record or in a zip64
/// extra field.
const IN_ZIP64: u64 = u32::MAX as u64;

/// Returns the position and the length of the directory, as stored in the end record.
pub(super) fn locate(input: &mut Input) -> Result<Extent> {
    let tail_length = input.length().min((END_LENGTH + usize::from(u16::MAX)) as u64);
    let tail_start = input.length() - tail_length;
    let tail = input.bytes(tail_start, tail_length)?;
    // The end record is followed by a comment, whose length is the field at offset 20.
    let is_end_record = |position: &usize| {
        let end = &tail[*position..];
        end.starts_with(END) && END_LENGTH + number(end, 20, 2) as usize == end.len()
    };
    let last = tail.len().checked_sub(END_LENGTH);
    let position = last.and_then(|last| (0..=last).rev().find(is_end_record));
    let position = position.ok_or_else(|| invalid("it has no directory at its end"))?;
    let end = &tail[position..];
    let end_start = tail_start + position as u64;
    let extent = match (number(end, 12, 4), number(end, 16, 4)) {
        (length, start) if length == IN_ZIP64 || start == IN_ZIP64 => locate_64(input, end_start)?,
        (length, start) => Extent { start, length },
    };
    match extent.start.checked_add(extent.length) {
        Some(directory_end) if directory_end <= end_start => Ok(extent),
        _ => Err(invalid("its directory is outside the file")),
    }
}

/// Returns the position and the length of the directory, as stored in the zip64 end record. `end_start` is the position
/// of the end record.
fn locate_64(input: &mut Input, end_start: u64) -> Result<Extent> {
    let missing = || invalid("it has no 64-bit record with the position of its directory");
    let locator_start = end_start.checked_sub(LOCATOR_64_LENGTH).ok_or_else(missing)?;
    let locator = input.bytes(locator_start, LOCATOR_64_LENGTH)?;
    if !locator.starts_with(LOCATOR_64) {
        return Err(missing());
    }
    let end = input.bytes(number(&locator, 8, 8), END_64_LENGTH)?;
    if !end.starts_with(END_64) {
        return Err(missing());
    }
    Ok(Extent { start: number(&end, 48, 8), length: number(&end, 40, 8) })
}

/// Returns the positions of all records in `directory`, ordered by name. `end_of_data` is the position in the file
/// after the last entry.
///
/// # Errors
///
/// Fails if a record is damaged, if two entries have the same name, or if the data of two entries overlaps.
pub(super) fn records(directory: &[u8], end_of_data: u64) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(directory.len() / (RECORD_LENGTH + 1));
    // The start of each entry, and a lower bound of its length. The bound leaves out the name and the extra field of
    // the local header, because the directory does not contain their lengths.
    let mut entries = Vec::with_capacity(positions.capacity());
    let mut position = 0;
    while position < directory.len() {
        let (record, next) = Record::read(directory, position)?;
        positions.push(position);
        entries.push((record.header, record.compressed.saturating_add(HEADER_LENGTH)));
        position = next;
    }
    entries.sort_unstable();
    let mut next_starts = entries.iter().skip(1).map(|&(start, _)| start).chain([end_of_data]);
    let ends_before_next = |&(start, length): &(u64, u64)| {
        let end = start.checked_add(length);
        end.is_some() && end <= next_starts.next()
    };
    if !entries.iter().all(ends_before_next) {
        return Err(invalid("two of its entries overlap"));
    }
    positions.sort_unstable_by_key(|&position| name(directory, position));
    let names = positions.iter().map(|&position| name(directory, position));
    if let Some((name, _)) = names.clone().zip(names.skip(1)).find(|(name, next)| name == next) {
        return Err(invalid(&format!("it has two entries `{}`", name.escape_ascii())));
    }
    Ok(positions)
}

/// The directory record of an entry.
pub(super) struct Record {
    pub flags: u64,
    pub method: u64,
    pub checksum: u32,
    /// The size of the compressed data in bytes.
    pub compressed: u64,
    /// The size of the uncompressed data in bytes.
    pub size: u64,
    /// The position of the entry's local header.
    pub header: u64,
}

impl Record {
    /// Reads the record at `position` and returns it with the position of the next one.
    pub fn read(directory: &[u8], position: usize) -> Result<(Self, usize)> {
        let damaged = || invalid("its directory is damaged");
        let record = directory.get(position..).filter(|rest| rest.len() >= RECORD_LENGTH);
        let record = record.ok_or_else(damaged)?;
        if !record.starts_with(RECORD) {
            return Err(damaged());
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| number(record, at, 2) as usize);
        let next = position + RECORD_LENGTH + name + extra + comment;
        if next > directory.len() {
            return Err(damaged());
        }
        let mut entry = Self {
            flags: number(record, 8, 2),
            method: number(record, 10, 2),
            checksum: number(record, 16, 4) as u32,
            compressed: number(record, 20, 4),
            size: number(record, 24, 4),
            header: number(record, 42, 4),
        };
        entry.read_zip64(&record[RECORD_LENGTH + name..][..extra]);
        Ok((entry, next))
    }

    /// Reads the fields that do not fit into 32 bits. Their values are in the zip64 extra field, which has the id 1.
    fn read_zip64(&mut self, mut extra: &[u8]) {
        while let Some((head, rest)) = extra.split_first_chunk::<4>() {
            let id = number(head, 0, 2);
            let length = number(head, 2, 2) as usize;
            let (data, rest) = rest.split_at(length.min(rest.len()));
            if id == 1 {
                let mut values = data.as_chunks::<8>().0.iter().map(|&value| u64::from_le_bytes(value));
                for field in [&mut self.size, &mut self.compressed, &mut self.header] {
                    if *field == IN_ZIP64 {
                        *field = values.next().unwrap_or(IN_ZIP64);
                    }
                }
            }
            extra = rest;
        }
    }
}

/// Returns the name in the record at `position`. [`Record::read`] must have checked the record before.
pub(super) fn name(directory: &[u8], position: usize) -> &[u8] {
    let record = &directory[position..];
    &record[RECORD_LENGTH..][..number(record, 28, 2) as usize]
}

/// Returns the little-endian number in `bytes[at..at + length]`. Panics if `bytes` is too short.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Returns the error for an invalid archive.
pub(super) fn invalid(reason: &str) -> Error {
    Error::msg(format!("not a valid zip archive: {reason}"))
}
