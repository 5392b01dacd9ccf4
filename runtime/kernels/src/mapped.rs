//! A file mapped into memory, read by position.

use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// A mapped file: what is read is copied straight from the system's cache of it.
///
/// Its bytes are never borrowed, only copied, as another process may change the file meanwhile. One that
/// shortens it makes the system end this process.
pub struct Mapped {
    map: MmapRaw,
    /// The next byte to be read.
    place: u64,
    length: u64,
}

impl Mapped {
    /// Maps a file.
    pub fn new(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let map = MmapOptions::new().map_raw_read_only(file)?;
        Ok(Self { map, place: 0, length })
    }
}

impl Read for Mapped {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let end = self.length.min(self.map.len() as u64);
        let at = self.place.min(end);
        let count = to.len().min((end - at) as usize);
        // SAFETY: `at + count ≤ end`, which is within the map, and `to` has room for `count` bytes.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(self.map.as_ptr().add(at as usize), count) };
        self.place = at + count as u64;
        Ok(count)
    }
}

impl Seek for Mapped {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, offset) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::End(offset) => (self.length, offset),
            SeekFrom::Current(offset) => (self.place, offset),
        };
        self.place = from.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_as_the_file_does() -> io::Result<()> {
        for length in [0usize, 1, 5000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let mut file = tempfile::tempfile()?;
            file.write_all(&bytes)?;
            let mut mapped = Mapped::new(&file)?;
            let mut all = Vec::new();
            mapped.read_to_end(&mut all)?;
            assert_eq!(all, bytes);
            for place in [0, length as u64 / 2, length as u64, length as u64 + 9] {
                assert_eq!(mapped.seek(SeekFrom::Start(place))?, place);
                let mut rest = Vec::new();
                mapped.read_to_end(&mut rest)?;
                assert_eq!(rest, bytes[length.min(place as usize)..]);
            }
            assert_eq!(mapped.seek(SeekFrom::End(0))?, length as u64);
            assert!(mapped.seek(SeekFrom::Current(-(length as i64) - 1)).is_err());
        }
        Ok(())
    }
}
