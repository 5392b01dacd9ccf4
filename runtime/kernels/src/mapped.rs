//! A memory-mapped file with `Read` and `Seek`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use memmap2::{MmapOptions, MmapRaw};

/// A memory-mapped file. Reads copy directly from the page cache of the operating system.
///
/// The bytes are copied and never borrowed, because another process may change the file at any time. If another process
/// truncates the file, a read may terminate this process with a signal.
pub struct MappedFile {
    map: MmapRaw,
    /// The position of the next byte to read.
    position: u64,
    /// The length of the file when it was mapped.
    length: u64,
}

impl MappedFile {
    /// Maps a file into memory.
    ///
    /// # Errors
    /// Fails if the system does not report the file's length or does not map the file.
    pub fn new(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let map = MmapOptions::new().map_raw_read_only(file)?;
        Ok(Self { map, position: 0, length })
    }
}

impl Read for MappedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.length.min(self.map.len() as u64);
        let at = self.position.min(end);
        let count = buffer.len().min((end - at) as usize);
        // SAFETY: `at + count ≤ end`, which is at most the end of the map, and `count ≤ buffer.len()`.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(self.map.as_ptr().add(at as usize), count) };
        self.position = at + count as u64;
        Ok(count)
    }
}

impl Seek for MappedFile {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let (origin, offset) = match target {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (self.length, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = origin.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_and_seeks_like_a_file() -> io::Result<()> {
        for length in [0usize, 1, 5000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let mut file = tempfile::tempfile()?;
            file.write_all(&bytes)?;
            let mut mapped = MappedFile::new(&file)?;
            let mut all = Vec::new();
            mapped.read_to_end(&mut all)?;
            assert_eq!(all, bytes);
            for position in [0, length as u64 / 2, length as u64, length as u64 + 9] {
                assert_eq!(mapped.seek(SeekFrom::Start(position))?, position);
                let mut rest = Vec::new();
                mapped.read_to_end(&mut rest)?;
                assert_eq!(rest, bytes[length.min(position as usize)..]);
            }
            assert_eq!(mapped.seek(SeekFrom::End(0))?, length as u64);
            assert!(mapped.seek(SeekFrom::Current(-(length as i64) - 1)).is_err());
        }
        Ok(())
    }
}
