//! Access to sections of a file.
//!
//! Files are read through a small buffer by default. Mapping a file into memory ([`Load::mapped`](crate::Load::mapped))
//! avoids a copy of the data but does not reduce memory use. If a mapped file is truncated, the signal SIGBUS kills the
//! process.

use std::io::{Read, Seek, SeekFrom, Take};

use crate::{Error, Result};

/// A readable and seekable file.
pub(super) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

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

    /// Returns the length as `usize`, or `usize::MAX` if the length does not fit.
    pub fn size(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Returns a reader of the `length` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// Fails if the section extends past the end of the file.
    pub fn section(&mut self, offset: u64, length: u64) -> Result<Take<&mut dyn ReadSeek>> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => {}
            _ => {
                return Err(Error::msg(format!(
                    "expected {length} bytes at {offset}, found the end of the file at {}",
                    self.length
                )));
            }
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let file: &mut dyn ReadSeek = &mut *self.file;
        Ok(file.take(length))
    }

    /// Reads the `length` bytes at `offset`.
    pub fn bytes(&mut self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut section = self.section(offset, length)?;
        let size = usize::try_from(length).map_err(Error::msg)?;
        let mut bytes = Vec::with_capacity(size);
        section.read_to_end(&mut bytes)?;
        if bytes.len() == size { Ok(bytes) } else { Err(truncated()) }
    }
}

/// Returns the error for truncated data.
pub(super) fn truncated() -> Error {
    Error::msg("the data ends before its declared length")
}

/// Fills `buffer`. If the data ends early, returns [`truncated`].
pub(super) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated(),
        _ => error.into(),
    })
}
