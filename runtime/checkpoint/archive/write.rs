//! Writes zip archives that equal PyTorch's archives byte for byte.
//!
//! Entries are not compressed, and their data begins at multiples of 64 bytes. The checksum follows the data of an
//! entry in a data descriptor, so that the writer never seeks. Sizes and positions from 4 GiB on use zip64.

use std::io::{self, Write};

use flate2::Crc;

use crate::{Error, Result};

use super::directory::{END, END_64, HEADER_LENGTH, LOCATOR_64, RECORD};
use super::entry::HEADER;

/// The alignment of the data of every entry, in bytes.
pub(crate) const ALIGNMENT: u64 = 64;

/// The signature of a data descriptor.
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

/// The flag of a name in UTF-8.
const UTF8: u16 = 1 << 11;
/// The flag of an entry with a data descriptor.
const HAS_DESCRIPTOR: u16 = 1 << 3;

/// From this number on, a value is stored in a zip64 extra field or record. Its 32-bit field then contains this number.
const LIMIT: u64 = u32::MAX as u64;

/// The maximum length of a name in bytes.
const MAX_NAME: usize = u16::MAX as usize;

/// An archive that is being written.
pub(in super::super) struct ArchiveWriter<W> {
    out: Counted<W>,
    directory: Vec<u8>,
    entries: u64,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out: Counted { out, position: 0 }, directory: Vec::new(), entries: 0 }
    }

    /// Writes an entry of `size` bytes, which `write` produces. Returns the checksum.
    ///
    /// # Errors
    ///
    /// Fails if `write` fails or does not produce `size` bytes.
    pub fn entry(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<u32> {
        let name_length = u16::try_from(name.len()).map_err(|_| {
            Error::msg(format!("expected a name of at most {MAX_NAME} bytes, found {}", name.len()))
        })?;
        let header = self.out.position;
        let flags = if size == 0 { UTF8 } else { UTF8 | HAS_DESCRIPTOR };
        // As in PyTorch's files, the compressed size is 0 here, because a zip writer usually does not know it yet. The
        // data descriptor contains it.
        let zip64 = zip64_extra(size, 0, header);
        let padding = padding(header + HEADER_LENGTH + u64::from(name_length) + zip64.len() as u64);

        let extra_length = (zip64.len() + padding.len()) as u16;
        let out = &mut self.out;
        out.write_all(HEADER)?;
        out.write_all(&common_fields(flags, 0, 0, 0, name_length, extra_length))?;
        for part in [name.as_bytes(), &zip64, &padding] {
            out.write_all(part)?;
        }

        let start = out.position;
        let mut data = Checksummed { out, crc: Crc::new() };
        write(&mut data)?;
        let checksum = data.crc.sum();
        let written = out.position - start;
        if written != size {
            return Err(Error::msg(format!("expected {size} bytes for the entry `{name}`, wrote {written}")));
        }
        if size > 0 {
            out.write_all(&descriptor(checksum, size, !zip64.is_empty()))?;
        }

        let zip64 = zip64_extra(size, size, header);
        self.directory.extend(RECORD);
        self.directory.extend(0_u16.to_le_bytes());
        self.directory.extend(common_fields(flags, checksum, size, size, name_length, zip64.len() as u16));
        // The length of the comment, the number of the disk, and the attributes: all 0.
        self.directory.extend([0; 10]);
        self.directory.extend(in_32_bits(header));
        self.directory.extend([name.as_bytes(), &zip64].concat());
        self.entries += 1;
        Ok(checksum)
    }

    /// Writes the central directory and the end record.
    pub fn finish(mut self) -> Result<()> {
        let start = self.out.position;
        let length = self.directory.len() as u64;
        let count = self.entries;
        self.out.write_all(&self.directory)?;

        let end_64 = self.out.position;
        // The length of the zip64 end record after this field.
        let length_of_end_64 = 44_u64.to_le_bytes();
        let versions_and_disks = [&0x031e_u16.to_le_bytes()[..], &0x2d_u16.to_le_bytes(), &[0; 8]].concat();
        let numbers = [count, count, length, start].map(u64::to_le_bytes).concat();
        self.out.write_all(&[END_64, &length_of_end_64, &versions_and_disks, &numbers].concat())?;
        let disks = 1_u32.to_le_bytes();
        self.out.write_all(&[LOCATOR_64, &[0; 4], &end_64.to_le_bytes(), &disks].concat())?;

        let count = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        let extent = [length, start].map(in_32_bits).concat();
        self.out.write_all(&[END, &[0; 4], &count, &count, &extent, &[0; 2]].concat())?;
        Ok(())
    }
}

/// Returns the fields that the local header and the central directory have in common: version, flags, method, time and
/// date; the checksum and both sizes; the lengths of the name and the extra field. The versions and times are 0.
fn common_fields(flags: u16, checksum: u32, compressed: u64, size: u64, name: u16, extra: u16) -> Vec<u8> {
    let mut fields = [0, flags, 0, 0, 0].map(u16::to_le_bytes).concat();
    fields.extend(checksum.to_le_bytes());
    fields.extend([compressed, size].map(in_32_bits).concat());
    fields.extend([name, extra].map(u16::to_le_bytes).concat());
    fields
}

/// Returns the extra field with the numbers that do not fit into 32 bits, or nothing if all of them fit.
fn zip64_extra(size: u64, compressed: u64, header: u64) -> Vec<u8> {
    let mut numbers = Vec::new();
    if size >= LIMIT {
        numbers.extend([size, compressed]);
    }
    if header >= LIMIT {
        numbers.push(header);
    }
    if numbers.is_empty() {
        return Vec::new();
    }
    let length = (numbers.len() * size_of::<u64>()) as u16;
    let head = [1, length].map(u16::to_le_bytes).concat();
    head.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
}

/// Returns an extra field that aligns the data after it. The extra field begins at `position`.
fn padding(position: u64) -> Vec<u8> {
    let start = position + 4;
    let length = (start.next_multiple_of(ALIGNMENT) - start) as u8;
    let mut extra = vec![b'F', b'B', length, 0];
    extra.extend(std::iter::repeat_n(b'Z', usize::from(length)));
    extra
}

fn descriptor(checksum: u32, size: u64, is_zip64: bool) -> Vec<u8> {
    let sizes =
        if is_zip64 { [size; 2].map(u64::to_le_bytes).concat() } else { [size; 2].map(in_32_bits).concat() };
    [DESCRIPTOR, &checksum.to_le_bytes(), &sizes].concat()
}

/// Returns a 32-bit field with `number`, or with [`LIMIT`] if the number does not fit.
fn in_32_bits(number: u64) -> [u8; 4] {
    (number.min(LIMIT) as u32).to_le_bytes()
}

/// A writer that counts its bytes.
struct Counted<W> {
    out: W,
    position: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A writer that computes the checksum of its bytes.
struct Checksummed<'w, W> {
    out: &'w mut W,
    crc: Crc,
}

impl<W: Write> Write for Checksummed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes come from a file of more than 4 GiB that PyTorch 2.15 wrote.
    #[test]
    fn sizes_and_positions_of_4_gib_use_zip64() {
        let size = (1 << 32) + 5;
        assert!(zip64_extra(LIMIT - 1, 0, LIMIT - 1).is_empty());
        // The local header does not have the compressed size yet.
        assert_eq!(zip64_extra(size, 0, 745), *b"\x01\0\x10\0\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(zip64_extra(8, 8, 0x1_0000_0325), *b"\x01\0\x08\0\x25\x03\0\0\x01\0\0\0");
        assert_eq!(zip64_extra(LIMIT, LIMIT, LIMIT).len(), 4 + 3 * 8);
        assert_eq!(descriptor(0, size, true), *b"PK\x07\x08\0\0\0\0\x05\0\0\0\x01\0\0\0\x05\0\0\0\x01\0\0\0");
        assert_eq!(descriptor(0, 8, false), *b"PK\x07\x08\0\0\0\0\x08\0\0\0\x08\0\0\0");
        assert_eq!(in_32_bits(size), [0xff; 4]);
    }

    #[test]
    fn an_entry_of_the_wrong_size_is_an_error() {
        let mut archive = ArchiveWriter::new(Vec::new());
        let error = archive.entry("data", 3, |out| Ok(out.write_all(b"four")?)).unwrap_err();
        assert_eq!(error.to_string(), "expected 3 bytes for the entry `data`, wrote 4");
    }
}
