//! The file being read: sections of it, by position, and never the whole.
//!
//! Files are read through a small buffer into the tensors themselves, and mapped into memory only where the
//! caller asks for it: a mapping saves a copy and no memory, and a file that shrinks meanwhile is then not an
//! error but a signal that ends the process.

use std::io::{Read, Seek, SeekFrom, Take};

use crate::{Error, Result};

pub(super) trait ReadSeek: Read + Seek {}

impl<File: Read + Seek> ReadSeek for File {}

/// A file of known length.
pub(super) struct Input<'f> {
    file: &'f mut dyn ReadSeek,
    length: u64,
}

impl<'f> Input<'f> {
    pub fn new(file: &'f mut dyn ReadSeek, length: u64) -> Self {
        Self { file, length }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The length as a number of bytes in memory, which saturates where no memory is so large.
    pub fn size(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// A reader of `length` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// When they do not lie within the file.
    pub fn section(&mut self, offset: u64, length: u64) -> Result<Take<&mut dyn ReadSeek>> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => {}
            _ => {
                return Err(Error::msg(format!(
                    "expected {length} bytes at {offset}, got the end of the file at {}",
                    self.length
                )));
            }
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let file: &mut dyn ReadSeek = &mut *self.file;
        Ok(file.take(length))
    }

    /// `length` bytes from `offset` on.
    pub fn bytes(&mut self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut section = self.section(offset, length)?;
        let size = usize::try_from(length).map_err(Error::msg)?;
        let mut bytes = Vec::with_capacity(size);
        section.read_to_end(&mut bytes)?;
        if bytes.len() == size { Ok(bytes) } else { Err(cut_short()) }
    }
}

pub(super) fn cut_short() -> Error {
    Error::msg("the data ends before its declared length")
}

/// Fills `buffer`; an early end is an error with a message of ours.
pub(super) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => cut_short(),
        _ => error.into(),
    })
}
