//! Reads zip entries and checks their lengths and checksums.

use std::io::{self, Read, Take};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::{Error, Result};

use super::super::input::{Input, ReadSeek};
use super::directory::{HEADER_LENGTH, Record, invalid, number};

/// The signature of an entry's local header.
pub(super) const HEADER: &[u8] = b"PK\x03\x04";

/// The compression method of an entry without compression.
const STORED: u64 = 0;
/// The compression method DEFLATE.
const DEFLATED: u64 = 8;

/// The flag of an encrypted entry.
const ENCRYPTED: u64 = 1;

/// A reader of an entry's uncompressed data. The reader checks that the length and the checksum of the data match the
/// directory.
pub(crate) struct EntryReader<'a> {
    data: Data<'a>,
    /// The number of uncompressed bytes that are not read yet.
    left: u64,
    crc: Crc,
    checksum: u32,
}

type Section<'a> = Take<&'a mut (dyn ReadSeek + 'a)>;

enum Data<'a> {
    Stored(Section<'a>),
    Deflated(Box<DeflateDecoder<Section<'a>>>),
}

impl<'a> EntryReader<'a> {
    /// Opens the entry of `record`. Fails if the entry's data extends past `end_of_data`.
    pub(super) fn open(input: &'a mut Input<'_>, record: &Record, end_of_data: u64) -> Result<Self> {
        if record.flags & ENCRYPTED != 0 {
            return Err(Error::msg("encrypted entries are not supported"));
        }
        let header = input.bytes(record.header, HEADER_LENGTH)?;
        if !header.starts_with(HEADER) {
            return Err(invalid("the entry has no header where the directory says it is"));
        }
        let start = record.header + HEADER_LENGTH + number(&header, 26, 2) + number(&header, 28, 2);
        if start.checked_add(record.compressed).is_none_or(|end| end > end_of_data) {
            return Err(invalid("the entry's data overlaps the directory"));
        }
        let section = input.section(start, record.compressed)?;
        let data = match record.method {
            STORED if record.size == record.compressed => Data::Stored(section),
            STORED => return Err(invalid("the entry is not compressed but has two different sizes")),
            DEFLATED => Data::Deflated(Box::new(DeflateDecoder::new(section))),
            other => return Err(Error::msg(format!("compression method {other} is not supported"))),
        };
        Ok(Self { data, left: record.size, crc: Crc::new(), checksum: record.checksum })
    }

    /// Checks that no data follows the declared length and that the checksum matches.
    fn check(&mut self) -> io::Result<()> {
        // The reader of stored data ends after the declared length. Deflated data determines its own length.
        let longer = match &mut self.data {
            Data::Stored(_) => false,
            Data::Deflated(data) => data.read(&mut [0])? > 0,
        };
        if longer {
            return Err(damaged("there is more data than the directory says"));
        }
        if self.crc.sum() != self.checksum {
            return Err(damaged("the checksum does not match"));
        }
        Ok(())
    }
}

impl Read for EntryReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..wanted];
        let count = match &mut self.data {
            Data::Stored(data) => data.read(buffer)?,
            Data::Deflated(data) => data.read(buffer)?,
        };
        if count == 0 {
            return Err(damaged("there is less data than the directory says"));
        }
        self.crc.update(&buffer[..count]);
        self.left -= count as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(count)
    }
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the entry is damaged: {reason}"))
}
